//! The example programs, run as a user runs them.
//!
//! `cargo test` builds the examples. `cargo test --test NAME` does not, and runs the examples of the last build.

use std::process::Command;

/// Returns a command for the example program `name`.
pub fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let program = profile
        .join("examples")
        .join(name)
        .with_extension(std::env::consts::EXE_EXTENSION);
    assert!(
        program.exists(),
        "run `cargo build --example {name}` first, with the features of the tests"
    );
    Command::new(program)
}
