//! The JSON report.

use super::*;

fn report(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_report_lists_every_picture() {
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

    // The report also contains an error that occurs before the first picture.
    let output = folder.run(&["a.png", "-o", "out.xyz", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report = self::report(&output);
    assert!(report["error"].as_str().unwrap().contains("'out.xyz'"));
    assert_eq!(report["pictures"], serde_json::json!([]));
}
