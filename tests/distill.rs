//! The example program `distill`.

#![cfg(all(feature = "flex", feature = "train"))]

#[path = "common/program.rs"]
mod program;

use program::example;
use std::fs;

/// Stage 1 before its teacher: it says so, and leaves nothing behind.
#[test]
fn a_stage_that_is_refused_leaves_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let distill = || {
        let mut program = example("distill");
        program.current_dir(folder.path());
        program
    };
    let config = distill().args(["config", "nano"]).output().unwrap();
    fs::write(folder.path().join("nano.json"), config.stdout).unwrap();
    let arguments = "train stage1 --config nano.json --folder run";
    let refused = distill().args(arguments.split(' ')).output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    assert!(error.contains("train this stage first"), "{error}");
    assert!(!folder.path().join("run").exists());
}
