//! Pictures that fail, and interruptions: what is reported, and which files remain.

use super::*;

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
fn an_earlier_output_is_replaced_only_by_a_complete_one() {
    let folder = Folder::new();
    folder.picture("in.png", &colours());
    fs::write(folder.path("out.png"), "earlier").unwrap();
    folder.fails(&["absent.png", "-o", "out.png"]);
    assert_eq!(fs::read(folder.path("out.png")).unwrap(), b"earlier");
    folder.succeeds(&["in.png", "-o", "out.png", "--scale", "2"]);
    assert_eq!(image::open(folder.path("out.png")).unwrap().width(), 16);
    assert_eq!(folder.names(), ["in.png", "out.png"]);
}

/// The shell limits the size of files, which acts like a full disk: the program reports the file
/// and leaves nothing of it.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_no_file() {
    let folder = Folder::new();
    folder.picture("in.bmp", &colours());
    let program = example("upscale");
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
fn ctrl_c_stops_without_leaving_files() {
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
        "the program ended too early for this test"
    );
    // Use the built-in of the shell, because there may be no `kill` program.
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
