//! The example program `efficiency`, run as a user runs it.

use crate::support::program::example;
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
#[ignore = "builds an example program"]
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
        .map(|model| model["name"].as_str().unwrap())
        .collect();
    let expected = [
        "GenDR, guidance",
        "GenDR-Adc, guidance",
        "GenDR-Pix, PadCFG",
        "GenDR-Pix, no guidance",
    ];
    assert_eq!(names, expected);
    for model in models {
        let name = model["name"].as_str().unwrap();
        assert!(table.contains(&format!("| {name} ")), "{table}");
        assert!(model["seconds"].as_f64().unwrap() > 0.0, "{name}");
        let weight_bytes = model["weight_bytes"].as_u64().unwrap();
        if cfg!(target_os = "linux") {
            assert!(
                model["peak_bytes"].as_u64().unwrap() > weight_bytes,
                "{name}"
            );
        }
    }
    let [gendr, adc, padcfg, unguided] = [0, 1, 2, 3].map(|i| models[i]["macs"].as_u64().unwrap());
    assert_eq!(padcfg, 2 * unguided);
    assert!(gendr > adc, "GenDR also has an encoder");
}

#[test]
#[ignore = "builds an example program"]
fn bad_arguments_are_refused() {
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
