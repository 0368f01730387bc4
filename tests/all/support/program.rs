//! The example programs, run as a user runs them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

/// The features of the tests. A program with the same features shares the compiled library.
const FEATURES: &[(&str, bool)] = &[
    ("flex", cfg!(feature = "flex")),
    ("ndarray", cfg!(feature = "ndarray")),
    ("cuda", cfg!(feature = "cuda")),
    ("wgpu", cfg!(feature = "wgpu")),
    ("vulkan", cfg!(feature = "vulkan")),
    ("metal", cfg!(feature = "metal")),
    ("autotune", cfg!(feature = "autotune")),
    ("pretrained", cfg!(feature = "pretrained")),
    ("latent", cfg!(feature = "latent")),
    ("train", cfg!(feature = "train")),
    ("collective", cfg!(feature = "collective")),
];

/// Builds the example program `name`, unless this process has done so, and returns a command that
/// runs it.
///
/// `cargo test --tests` does not build examples, and most of them are of no use to the tests.
pub fn example(name: &'static str) -> Command {
    static BUILT: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    // A failed build must not poison the lock, so that each test shows the error.
    let mut built = BUILT
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if !built.contains(&name) {
        build(name, profile.to_owned());
        built.push(name);
    }
    let program = profile.join("examples").join(name);
    Command::new(program.with_extension(std::env::consts::EXE_EXTENSION))
}

fn build(name: &str, profile: PathBuf) {
    let features = FEATURES.iter().filter(|(_, on)| *on);
    let features: Vec<&str> = features.map(|(feature, _)| *feature).collect();
    let profile_name = match profile.file_name().unwrap().to_str().unwrap() {
        // Of `cargo test`; `dev` has the same folder.
        "debug" => "test",
        other => other,
    };
    let status = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--example", name])
        .args(["--no-default-features", "--features", &features.join(",")])
        .args(["--profile", profile_name])
        .arg("--target-dir")
        .arg(profile.parent().unwrap())
        .status()
        .unwrap();
    assert!(status.success(), "cargo cannot build the example `{name}`");
}
