//! The example in C, compiled by `cc` and run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Compiles `examples/upscale.c` with the static library that `cargo test` has built.
fn compile(folder: &TempDir) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let test = std::env::current_exe().unwrap();
    let library = test.with_file_name("libgendr_pix_c.a");
    assert!(library.exists(), "{} is missing", library.display());
    let program = folder.path().join("upscale");
    let output = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"])
        .arg("-I")
        .arg(here.join("include"))
        .arg(here.join("examples/upscale.c"))
        .arg(library)
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&program)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    program
}

fn run(program: &Path, folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.current_dir(folder.path()).args(arguments);
    command.output().unwrap()
}

#[test]
fn the_example_enlarges_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(&folder);
    let pixels: Vec<u8> = (0..12 * 8 * 3).map(|i| (i * 37 % 256) as u8).collect();
    let small = [b"P6\n12 8\n255\n".as_slice(), &pixels].concat();
    std::fs::write(folder.path().join("in.ppm"), small).unwrap();

    let output = run(&program, &folder, &["in.ppm", "out.ppm", "2.5"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let progress = String::from_utf8(output.stderr).unwrap();
    assert!(progress.starts_with("\r "), "{progress:?}");
    assert!(progress.ends_with("\r100 %\n"), "{progress:?}");

    let image = image::RgbImage::from_raw(12, 8, pixels).unwrap().into();
    let model = gendr_pix::GenDrPix::<gendr_pix::backend::Flex>::pretrained(&Default::default());
    let options = gendr_pix::Upscale::new().scale(2.5);
    let expected = model.unwrap().upscale_with(&image, &options).unwrap();
    let expected = [b"P6\n30 20\n255\n", expected.as_bytes()].concat();
    let written = std::fs::read(folder.path().join("out.ppm")).unwrap();
    assert!(written == expected, "the library's picture is another one");
}

#[test]
fn the_example_reports_errors() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(&folder);
    std::fs::write(folder.path().join("in.ppm"), b"P6 1 1 255\n\x01\x02\x03").unwrap();
    for (arguments, expected) in [
        (
            ["in.ppm", "out.ppm", "0.5"],
            "upscale: in.ppm: option `scale`: 0.5 is not a finite number of at least 1\n",
        ),
        (
            ["absent.ppm", "out.ppm", "2"],
            "upscale: absent.ppm: cannot be read or written\n",
        ),
    ] {
        let output = run(&program, &folder, &arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    }
    assert!(!folder.path().join("out.ppm").exists());
}
