//! The example program `upscale`, run as a user would run it.

#[path = "common/program.rs"]
mod program;

use program::example;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use image::DynamicImage;
use image::imageops::FilterType::Triangle;
use tempfile::TempDir;

/// A folder for one test, and the program run in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a picture in the format of its extension.
    fn picture(&self, name: &str, image: &DynamicImage) {
        image.save(self.path(name)).unwrap();
    }

    /// The names of all files, sorted; those in a folder as `folder/name`.
    fn names(&self) -> Vec<String> {
        fn walk(folder: &Path, prefix: &str, names: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), &format!("{name}/"), names);
                } else {
                    names.push(name);
                }
            }
        }
        let mut names = Vec::new();
        walk(self.0.path(), "", &mut names);
        names.sort();
        names
    }

    fn run(&self, arguments: &[&str]) -> Output {
        example("upscale")
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    /// Runs, expects exit code 1 and nothing on stdout, and returns the lines on stderr.
    fn fails(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.run(arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(output.stdout.is_empty());
        errors.lines().map(str::to_owned).collect()
    }
}

/// 8 x 8 pixels, all different.
fn colours() -> DynamicImage {
    image::RgbImage::from_fn(8, 8, |x, y| {
        image::Rgb([x * 32, y * 32, x * y].map(|v| v as u8))
    })
    .into()
}

#[track_caller]
fn assert_one_line(errors: &[String], parts: &[&str]) {
    assert_eq!(errors.len(), 1, "{errors:#?}");
    for part in parts {
        assert!(errors[0].contains(part), "{part:?} is not in {errors:?}");
    }
}

#[test]
fn an_extension_that_cannot_be_written_is_refused() {
    let folder = Folder::new();
    folder.picture("in.png", &colours());
    for output in ["out.xyz", "out.gif", "out"] {
        let errors = folder.fails(&["in.png", "-o", output]);
        assert_one_line(&errors, &[&format!("'{output}'"), ".png"]);
    }
    assert_eq!(folder.names(), ["in.png"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let folder = Folder::new();
    folder.picture("in.png", &colours());
    fs::write(folder.path("file"), "").unwrap();
    for output in ["file/out.png", "absent/out.png", "file/"] {
        assert_one_line(&folder.fails(&["in.png", "-o", output]), &["cannot"]);
    }
    assert_eq!(folder.names(), ["file", "in.png"]);
}

#[test]
fn an_input_is_never_overwritten() {
    let folder = Folder::new();
    folder.picture("in.png", &colours());
    folder.picture("other.png", &colours());
    let before = fs::read(folder.path("in.png")).unwrap();
    for arguments in [
        &["in.png", "-o", "in.png"][..],
        &["in.png", "-o", "./in.png"],
        &["in.png", "-o", "."],
        &["other.png", "in.png", "-o", "./"],
    ] {
        assert_one_line(&folder.fails(arguments), &["overwritten"]);
    }
    assert_eq!(fs::read(folder.path("in.png")).unwrap(), before);
    assert_eq!(folder.names(), ["in.png", "other.png"]);
}

#[test]
fn two_pictures_never_share_an_output() {
    let folder = Folder::new();
    folder.picture("in.png", &colours());
    let errors = folder.fails(&["in.png", "sub/in.png", "-o", "out/"]);
    assert_one_line(&errors, &["'in.png'", "'sub/in.png'"]);
    let errors = folder.fails(&["in.png", "other.png", "-o", "out.png"]);
    assert_one_line(&errors, &["'out.png'", "folder"]);
    let errors = folder.fails(&["absent/..", "-o", "out/"]);
    assert_one_line(&errors, &["'absent/..'"]);
    assert_eq!(folder.names(), ["in.png"]);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn an_absent_backend_names_its_feature() {
    let folder = Folder::new();
    let errors = folder.fails(&["in.png", "-o", "out.png", "--backend", "cuda"]);
    assert_one_line(&errors, &["--features cuda"]);
}

#[cfg(feature = "flex")]
#[test]
fn missing_weights_are_named() {
    let folder = Folder::new();
    folder.picture("in.png", &colours());
    let errors = folder.fails(&["in.png", "-o", "out.png", "--weights", "absent.safetensors"]);
    assert_one_line(&errors, &["absent.safetensors"]);
    assert_eq!(folder.names(), ["in.png"]);
}

#[cfg(all(feature = "flex", feature = "pretrained"))]
mod with_a_model {
    use std::fs::File;
    use std::io::BufReader;

    use image::codecs::{jpeg::JpegEncoder, tiff::TiffDecoder};
    use image::{ColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader};

    use super::*;

    #[track_caller]
    fn succeeds(folder: &Folder, arguments: &[&str]) -> String {
        let output = folder.run(arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{errors}");
        assert!(output.stdout.is_empty());
        errors
    }

    #[test]
    fn tiles_are_asked_for_in_pixels() {
        let folder = Folder::new();
        folder.picture("in.png", &colours());
        let tiled = ["in.png", "-o", "out.png", "--scale", "2", "--tile", "16"];
        succeeds(&folder, &tiled);
        for side in ["7", "-8", "wide"] {
            let output = folder.run(&["in.png", "-o", "none.png", &format!("--tile={side}")]);
            assert!(!output.status.success());
            let errors = String::from_utf8(output.stderr).unwrap();
            assert!(
                errors.contains("--tile") && errors.contains("pixels"),
                "{errors}"
            );
            assert!(!folder.path("none.png").exists());
        }
    }

    #[test]
    fn sizes_and_strength_are_asked_for() {
        let folder = Folder::new();
        folder.picture("in.png", &colours());
        for (arguments, width, height) in [
            (&["--width", "20"][..], 20, 20),
            (&["--height", "9", "--fidelity", "0.5"], 9, 9),
            (&["--longest", "12", "--colour-fix", "mean-std"], 12, 12),
            (&["--size", "16x24", "--edge", "wrap"], 16, 24),
            (&["--scale", "1", "--fidelity", "0"], 8, 8),
        ] {
            succeeds(&folder, &[&["in.png", "-o", "out.png"], arguments].concat());
            let image = image::open(folder.path("out.png")).unwrap();
            assert_eq!((image.width(), image.height()), (width, height));
        }
        // The last one asked for the picture itself.
        assert_eq!(image::open(folder.path("out.png")).unwrap(), colours());
        let errors = folder.fails(&["in.png", "-o", "out.png", "--width", "4"]);
        assert_one_line(&errors, &["'in.png'", "4x4 is smaller"]);
        for arguments in [
            &["--size", "16"][..],
            &["--edge", "round"],
            &["--colour-fix", "some"],
            &["--width", "9", "--scale", "2"],
        ] {
            let output = folder.run(&[&["in.png", "-o", "out.png"], arguments].concat());
            assert_eq!(output.status.code(), Some(2));
        }
    }

    #[test]
    fn a_missing_input_is_named() {
        let folder = Folder::new();
        let errors = folder.fails(&["absent.png", "-o", "out.png"]);
        assert_one_line(&errors, &["'absent.png'"]);
        assert!(folder.names().is_empty());
    }

    #[test]
    fn a_truncated_picture_leaves_no_output() {
        let folder = Folder::new();
        folder.picture("in.png", &colours());
        let bytes = fs::read(folder.path("in.png")).unwrap();
        fs::write(folder.path("in.png"), &bytes[..bytes.len() / 2]).unwrap();
        let errors = folder.fails(&["in.png", "-o", "out.png"]);
        assert_one_line(&errors, &["'in.png'"]);
        assert_eq!(folder.names(), ["in.png"]);
    }

    #[test]
    fn one_bad_picture_does_not_stop_the_others() {
        let folder = Folder::new();
        folder.picture("a.png", &colours());
        fs::write(folder.path("b.png"), "not a picture").unwrap();
        folder.picture("c.bmp", &colours());
        let errors = folder.fails(&["a.png", "b.png", "c.bmp", "-o", "new/folder/"]);
        assert_eq!(errors.len(), 2, "{errors:#?}");
        assert!(errors[0].contains("'b.png'"));
        assert!(errors[1].contains("2 upscaled, 0 skipped, 1 of 3 pictures failed"));
        assert_eq!(
            folder.names(),
            [
                "a.png",
                "b.png",
                "c.bmp",
                "new/folder/a.png",
                "new/folder/c.bmp"
            ]
        );
        let large = image::open(folder.path("new/folder/c.bmp")).unwrap();
        assert_eq!((large.width(), large.height()), (32, 32));
    }

    #[test]
    fn an_earlier_output_is_replaced_only_by_a_whole_one() {
        let folder = Folder::new();
        folder.picture("in.png", &colours());
        fs::write(folder.path("out.png"), "earlier").unwrap();
        folder.fails(&["absent.png", "-o", "out.png"]);
        assert_eq!(fs::read(folder.path("out.png")).unwrap(), b"earlier");
        succeeds(&folder, &["in.png", "-o", "out.png", "--scale", "2"]);
        assert_eq!(image::open(folder.path("out.png")).unwrap().width(), 16);
        assert_eq!(folder.names(), ["in.png", "out.png"]);
    }

    #[test]
    fn each_format_gets_the_nearest_kind() {
        use ColorType::{L8, La8, La16, Rgb8, Rgb16, Rgb32F, Rgba8, Rgba16, Rgba32F};
        let folder = Folder::new();
        let grey = DynamicImage::from(image::ImageBuffer::from_pixel(
            2,
            2,
            image::LumaA([500_u16, 40_000]),
        ));
        folder.picture("grey.png", &grey);
        folder.picture("float.tiff", &DynamicImage::new_rgb32f(2, 2));
        folder.picture("float-alpha.tiff", &DynamicImage::new_rgba32f(2, 2));
        for (input, output, kind) in [
            ("grey.png", "out.png", La16),
            ("grey.png", "out.jpg", L8),
            ("grey.png", "out.tiff", Rgba16),
            ("grey.png", "out.bmp", Rgba8),
            // WebP has no grey: the encoder takes it, the decoder gives colour.
            ("grey.png", "out.webp", Rgba8),
            ("float.tiff", "out.png", Rgb16),
            ("float.tiff", "out.jpg", Rgb8),
            ("float.tiff", "out.tiff", Rgb32F),
            ("float-alpha.tiff", "out.png", Rgba16),
            ("float-alpha.tiff", "out.tiff", Rgba32F),
            ("float-alpha.tiff", "out.jpg", Rgb8),
        ] {
            let notes = succeeds(&folder, &[input, "-o", output]);
            let seen_through = input != "float.tiff" && output == "out.jpg";
            assert_eq!(notes.contains("on white"), seen_through, "{notes}");
            let image = image::open(folder.path(output)).unwrap();
            assert_eq!(image.color(), kind, "{input} to {output}");
            assert_eq!((image.width(), image.height()), (8, 8));
        }
        // The last one was transparent everywhere.
        let white = image::open(folder.path("out.jpg")).unwrap().to_rgb8();
        assert!(white.pixels().all(|pixel| pixel.0 == [255; 3]));
        folder.picture("grey8.png", &DynamicImage::new_luma_a8(2, 2));
        succeeds(&folder, &["grey8.png", "-o", "out.png"]);
        assert_eq!(image::open(folder.path("out.png")).unwrap().color(), La8);
    }

    #[test]
    fn folders_are_walked_and_what_is_there_is_skipped() {
        let folder = Folder::new();
        fs::create_dir_all(folder.path("photos/2024/deep")).unwrap();
        folder.picture("photos/b.png", &colours());
        folder.picture("photos/2024/a.bmp", &colours());
        folder.picture("photos/2024/deep/c.png", &colours());
        fs::write(folder.path("photos/notes.txt"), "not a picture").unwrap();
        fs::write(folder.path("photos/2024/bad.png"), "not a picture either").unwrap();
        let arguments = ["photos", "-o", "photos/large", "--scale", "2"];
        let errors = folder.fails(&arguments);
        assert_eq!(errors.len(), 2, "{errors:#?}");
        assert!(errors[0].contains("'photos/2024/bad.png'"), "{errors:?}");
        let large = |names: Vec<String>| -> Vec<String> {
            let mut names = names.into_iter();
            names
                .by_ref()
                .filter(|name| name.contains("large/"))
                .collect()
        };
        let expected = ["2024/a.bmp", "2024/deep/c.png", "b.png"];
        let expected = expected.map(|name| format!("photos/large/{name}"));
        assert_eq!(large(folder.names()), expected);

        // Again: what was written is no input, and stays as it is.
        fs::write(folder.path("photos/large/b.png"), "earlier").unwrap();
        fs::remove_file(folder.path("photos/large/2024/a.bmp")).unwrap();
        fs::remove_file(folder.path("photos/2024/bad.png")).unwrap();
        let notes = succeeds(&folder, &[&arguments[..], &["--skip-existing"]].concat());
        assert!(notes.contains("1 upscaled, 2 skipped, 0 of 3"), "{notes}");
        assert_eq!(large(folder.names()), expected);
        assert_eq!(
            fs::read(folder.path("photos/large/b.png")).unwrap(),
            b"earlier"
        );

        fs::create_dir(folder.path("empty")).unwrap();
        assert_one_line(
            &folder.fails(&["empty", "-o", "out/"]),
            &["'empty'", "no picture"],
        );
        assert_one_line(&folder.fails(&["photos", "-o", "photos"]), &["overwritten"]);
    }

    fn report(output: &Output) -> serde_json::Value {
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[test]
    fn the_report_tells_of_each_picture() {
        let folder = Folder::new();
        folder.picture("a.png", &colours().to_rgba8().into());
        fs::write(folder.path("it's bad.png"), "not a picture").unwrap();
        folder.picture("c.png", &colours());
        fs::create_dir(folder.path("out")).unwrap();
        fs::write(folder.path("out/c.png"), "earlier").unwrap();
        let options = ["-o", "out", "--scale", "2", "--json", "--skip-existing"];
        let output = folder.run(&[&["a.png", "it's bad.png", "c.png"], &options[..]].concat());
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(errors.contains(r#""it's bad.png":"#), "{errors}");
        let report = report(&output);
        assert_eq!(
            [&report["upscaled"], &report["skipped"], &report["failed"]],
            [1, 1, 1]
        );
        let find = |input: &str| {
            let pictures = report["pictures"].as_array().unwrap();
            pictures
                .iter()
                .find(|entry| entry["input"] == input)
                .unwrap()
        };
        let done = find("a.png");
        assert_eq!(done["status"], "upscaled");
        assert_eq!(done["output"], "out/a.png");
        assert_eq!(done["from"], serde_json::json!([8, 8]));
        assert_eq!(done["to"], serde_json::json!([16, 16]));
        assert!(done["seconds"].as_f64().unwrap() > 0.0);
        assert_eq!(find("c.png")["status"], "skipped");
        let failed = find("it's bad.png");
        assert_eq!(failed["status"], "failed");
        assert!(failed["error"].as_str().unwrap().contains("picture"));

        // What stops it before the first picture is in the report, too.
        let output = folder.run(&["a.png", "-o", "out.xyz", "--json"]);
        assert_eq!(output.status.code(), Some(1));
        let report = self::report(&output);
        assert!(report["error"].as_str().unwrap().contains("'out.xyz'"));
        assert_eq!(report["pictures"], serde_json::json!([]));
    }

    #[test]
    fn before_and_after_are_compared() {
        let folder = Folder::new();
        let sample = image::open("assets/sample.jpg")
            .unwrap()
            .crop_imm(30, 20, 80, 64);
        folder.picture("in.png", &sample);
        succeeds(&folder, &["in.png", "-o", "out.png", "--compare"]);
        assert_eq!(folder.names(), ["in.png", "out.png", "out.png.compare.png"]);
        let page = image::open(folder.path("out.png.compare.png"))
            .unwrap()
            .into_rgb8();
        let after = image::open(folder.path("out.png")).unwrap().into_rgb8();
        // The split picture, and a row of parts below.
        assert_eq!(page.width(), after.width());
        assert!(page.height() > after.height() + 20);
        let (left, right) = (after.width() / 4, 3 * after.width() / 4);
        let same = |x| {
            let pairs = (0..after.height()).map(|y| (page.get_pixel(x, y), after.get_pixel(x, y)));
            pairs.filter(|(page, after)| page == after).count()
        };
        assert_eq!(same(right), after.height() as usize);
        assert!(same(left) < after.height() as usize / 2);
        assert_eq!(page.get_pixel(after.width() / 2, 5).0, [255; 3]);

        // Each output has its own.
        let folder = Folder::new();
        fs::create_dir(folder.path("in")).unwrap();
        folder.picture("in/a.jpg", &sample.to_rgb8().into());
        folder.picture("in/a.png", &sample);
        succeeds(&folder, &["in", "-o", "out/", "--compare"]);
        let names = folder.names();
        assert!(
            names.contains(&"out/a.jpg.compare.png".to_owned()),
            "{names:?}"
        );
        assert!(
            names.contains(&"out/a.png.compare.png".to_owned()),
            "{names:?}"
        );

        // A comparison is never written over an input.
        let folder = Folder::new();
        folder.picture("in.png", &sample);
        fs::create_dir(folder.path("out")).unwrap();
        folder.picture("out/in.png.compare.png", &colours());
        let inputs = ["in.png", "out/in.png.compare.png"];
        let errors = folder.fails(&[&inputs[..], &["-o", "out", "--compare"]].concat());
        assert_one_line(&errors, &["out/in.png.compare.png", "overwritten"]);
        // A picture of one pixel has no room for parts.
        folder.picture("dot.png", &DynamicImage::new_rgba8(1, 1));
        succeeds(&folder, &["dot.png", "-o", "large.png", "--compare"]);
        assert!(folder.path("large.png.compare.png").exists());
    }

    /// The shell limits the size of files as a full disk would: an error for that file, nothing left of it.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_leaves_no_file() {
        let folder = Folder::new();
        folder.picture("in.bmp", &colours());
        let program = program::example("upscale");
        let limited = |output: &str| {
            let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" in.bmp -o \"$1\" --scale 16";
            std::process::Command::new("bash")
                .args(["-c", script])
                .arg(program.get_program())
                .arg(output)
                .current_dir(folder.0.path())
                .output()
                .unwrap()
        };
        fs::write(folder.path("earlier.bmp"), "earlier").unwrap();
        for output in ["out.bmp", "out.png", "out.tiff", "earlier.bmp"] {
            let result = limited(output);
            let errors = String::from_utf8(result.stderr).unwrap();
            assert_eq!(result.status.code(), Some(1), "{output}: {errors}");
            assert!(errors.contains(&format!("'{output}'")), "{errors}");
        }
        assert_eq!(folder.names(), ["earlier.bmp", "in.bmp"]);
        assert_eq!(fs::read(folder.path("earlier.bmp")).unwrap(), b"earlier");
    }

    #[cfg(unix)]
    #[test]
    fn ctrl_c_stops_without_a_trace() {
        let folder = Folder::new();
        let large = image::RgbImage::from_fn(1200, 1200, |x, y| image::Rgb([x as u8, y as u8, 9]));
        folder.picture("in.bmp", &large.into());
        let mut child = example("upscale")
            .args(["in.bmp", "-o", "out.bmp"])
            .current_dir(folder.0.path())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert!(
            child.try_wait().unwrap().is_none(),
            "too fast for this test"
        );
        // The shell's own: there may be no program of that name.
        let kill = std::process::Command::new("sh")
            .args(["-c", &format!("kill -INT {}", child.id())])
            .status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains("interrupted at 'in.bmp'"), "{errors}");
        assert_eq!(folder.names(), ["in.bmp"]);
    }

    fn decoder(path: &Path) -> Box<dyn ImageDecoder> {
        let file = BufReader::new(File::open(path).unwrap());
        // Through `ImageReader`, a profile larger than the pixels is lost:
        // https://github.com/image-rs/image-tiff/issues/413
        if ImageFormat::from_path(path).unwrap() == ImageFormat::Tiff {
            return Box::new(TiffDecoder::new(file).unwrap());
        }
        let reader = ImageReader::new(file).with_guessed_format().unwrap();
        assert_eq!(reader.format(), ImageFormat::from_path(path).ok());
        Box::new(reader.into_decoder().unwrap())
    }

    #[test]
    fn orientation_is_applied_and_the_profile_kept() {
        let folder = Folder::new();
        // One tag, 0x0112 = 6: the picture is to be turned by 90 degrees.
        let exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let real = moxcms::ColorProfile::new_display_p3().encode().unwrap();
        let other = [&[0; 16], &b"CMYK"[..], &[0; 108]].concat();
        for (profile, kept) in [(real, true), (other, false)] {
            let mut bytes = Vec::new();
            let mut encoder = JpegEncoder::new(&mut bytes);
            encoder.set_exif_metadata(exif.to_vec()).unwrap();
            encoder.set_icc_profile(profile.clone()).unwrap();
            DynamicImage::new_rgb8(8, 4)
                .write_with_encoder(encoder)
                .unwrap();
            fs::write(folder.path("in.jpg"), bytes).unwrap();
            for output in ["out.png", "out.jpg", "out.webp", "out.tiff"] {
                let notes = succeeds(&folder, &["in.jpg", "-o", output, "--scale", "2"]);
                assert_eq!(notes.contains("profile is ignored"), !kept, "{notes}");
                let mut decoder = decoder(&folder.path(output));
                assert_eq!(decoder.dimensions(), (8, 16), "{output}");
                let expected = kept.then(|| profile.clone());
                assert_eq!(decoder.icc_profile().unwrap(), expected, "{output}");
            }
        }
    }
}

/// bf16 makes about the same picture, and is not without effect.
#[test]
fn bf16_changes_little() {
    let folder = Folder::new();
    folder.picture("in.png", &colours().resize_exact(24, 24, Triangle));
    let enlarged = |output: &str, more: &[&str]| {
        let arguments = [&["in.png", "-o", output, "--scale", "4"], more].concat();
        assert!(folder.run(&arguments).status.success());
        image::open(folder.path(output)).unwrap().into_rgb8()
    };
    let (full, narrow) = (enlarged("a.png", &[]), enlarged("b.png", &["--bf16"]));
    let pairs = full.iter().zip(narrow.iter());
    let largest = pairs.map(|(a, b)| a.abs_diff(*b)).max();
    assert!((1..=4).contains(&largest.unwrap()), "{largest:?}");
}
