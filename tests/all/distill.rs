//! Tests of the example program `distill`.

use crate::support::program::example;
use std::fs;

/// Returns the error text of `train` with `arguments` and the preset `nano`. Asserts that no folder
/// is created.
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

/// Stage 1 is refused before its teacher is trained.
#[test]
#[ignore = "builds an example program"]
fn a_refused_stage_leaves_no_log() {
    let error = refused("stage1");
    assert!(error.contains("train this stage first"), "{error}");
}

/// A step of one batch cannot be shared, and a build without `collective` has one replica.
#[test]
#[ignore = "builds an example program"]
fn two_replicas_are_refused_for_steps_of_one_batch() {
    let error = refused("vae --replicas 2");
    let expected = if cfg!(feature = "collective") {
        "2 devices cannot share 1 batches"
    } else {
        "without the feature `collective`"
    };
    assert!(error.contains(expected), "{error}");
}

#[test]
#[ignore = "builds an example program"]
fn a_backend_that_is_not_built_in_is_refused() {
    if !cfg!(feature = "cuda") {
        let error = refused("vae --backend cuda");
        assert!(error.contains("--features cuda"), "{error}");
    }
}
