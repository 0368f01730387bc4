//! The example program `efficiency`, run as a user would run it.

#![cfg(all(feature = "flex", feature = "latent"))]

#[path = "common/program.rs"]
mod program;

use program::example;
use std::path::Path;
use std::process::Output;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    example("efficiency")
        .args(["--model", "nano", "--runs", "1"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn four_models_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["--size", "24x16", "--json", "table.json"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    let table = String::from_utf8(output.stdout).unwrap();
    let json = std::fs::read_to_string(folder.path().join("table.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let models = json.as_array().unwrap();
    let names: Vec<_> = models
        .iter()
        .map(|of| of["name"].as_str().unwrap())
        .collect();
    let expected = [
        "GenDR, guidance",
        "GenDR-Adc, guidance",
        "GenDR-Pix, PadCFG",
        "GenDR-Pix, no guidance",
    ];
    assert_eq!(names, expected);
    for of in models {
        let name = of["name"].as_str().unwrap();
        assert!(table.contains(&format!("| {name} ")), "{table}");
        assert!(of["seconds"].as_f64().unwrap() > 0.0, "{name}");
        let weights = of["weight_bytes"].as_u64().unwrap();
        if cfg!(target_os = "linux") {
            assert!(of["peak_bytes"].as_u64().unwrap() > weights, "{name}");
        }
    }
    let [gendr, adc, padcfg, once] = [0, 1, 2, 3].map(|i| models[i]["macs"].as_u64().unwrap());
    assert_eq!(padcfg, 2 * once);
    assert!(gendr > adc, "the encoder costs nothing?");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (["--size", "100x96"], "multiples of 8"),
        (["--size", "0x8"], "multiples of 8"),
        (["--size", "big"], "WIDTHxHEIGHT"),
        (["--backend", "abacus"], "possible values"),
        (["--json", "none/table.json"], "none/table.json"),
    ] {
        let output = run(folder.path(), &arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && error.contains(expected),
            "{error}"
        );
    }
}
