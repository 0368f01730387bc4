//! The example program `upscale`, run as a user runs it.

#[cfg(all(feature = "flex", feature = "pretrained"))]
mod comparison;
#[cfg(all(feature = "flex", feature = "pretrained"))]
mod failures;
#[cfg(all(feature = "flex", feature = "pretrained"))]
mod folders;
#[cfg(all(feature = "flex", feature = "pretrained"))]
mod formats;
#[cfg(all(feature = "flex", feature = "pretrained"))]
mod options;
mod rejected;
#[cfg(all(feature = "flex", feature = "pretrained"))]
mod report;

use crate::support::program::example;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use image::DynamicImage;
use tempfile::TempDir;

/// A folder for one test, in which the program runs.
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

    /// Returns the sorted paths of all files, relative to the folder.
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

    /// Runs the program, checks that it exits with 1 and prints nothing on stdout, and returns the
    /// lines on stderr.
    fn fails(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.run(arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(output.stdout.is_empty());
        errors.lines().map(str::to_owned).collect()
    }

    /// Runs the program, checks that it exits with 0 and prints nothing on stdout, and returns the
    /// text on stderr.
    #[cfg(all(feature = "flex", feature = "pretrained"))]
    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{errors}");
        assert!(output.stdout.is_empty());
        errors
    }
}

/// 8 x 8 pixels, all different.
fn colours() -> DynamicImage {
    image::RgbImage::from_fn(8, 8, |x, y| {
        image::Rgb([x * 32, y * 32, x * y].map(|v| v as u8))
    })
    .into()
}

/// Panics unless there is exactly one line, and it contains all of `parts`.
#[track_caller]
fn assert_one_line(errors: &[String], parts: &[&str]) {
    assert_eq!(errors.len(), 1, "{errors:#?}");
    for part in parts {
        assert!(errors[0].contains(part), "{part:?} is not in {errors:?}");
    }
}
