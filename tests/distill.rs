//! The example program `distill`.

#![cfg(all(feature = "flex", feature = "train"))]

#[path = "common/program.rs"]
mod program;

use program::example;
use std::fs;

/// The error of `train` with `arguments` and the preset `nano`, which leaves nothing behind.
fn refused(arguments: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let distill = || {
        let mut program = example("distill");
        program.current_dir(folder.path());
        program
    };
    let config = distill().args(["config", "nano"]).output().unwrap();
    fs::write(folder.path().join("nano.json"), config.stdout).unwrap();
    let arguments = format!("train {arguments} --config nano.json --folder run");
    let refused = distill().args(arguments.split(' ')).output().unwrap();
    assert!(!refused.status.success());
    assert!(!folder.path().join("run").exists());
    String::from_utf8(refused.stderr).unwrap()
}

/// Stage 1 before its teacher.
#[test]
fn a_stage_that_is_refused_leaves_no_log() {
    let error = refused("stage1");
    assert!(error.contains("train this stage first"), "{error}");
}

/// Steps of one batch, or a program that was built for one device.
#[test]
fn replicas_that_have_nothing_to_share_are_refused() {
    let error = refused("vae --replicas 2");
    let why = if cfg!(feature = "collective") {
        "2 devices cannot share 1 batches"
    } else {
        "without the feature `collective`"
    };
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_backend_that_is_not_built_in_is_refused() {
    if !cfg!(feature = "cuda") {
        let error = refused("vae --backend cuda");
        assert!(error.contains("--features cuda"), "{error}");
    }
}
