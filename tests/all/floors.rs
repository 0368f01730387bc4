//! The rooms of `src/` stack: a file imports from its own room and from rooms below it, never from
//! above.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the ground up. Those on one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["error", "simd"],
    &["file", "options"],
    &["backend", "pixels"],
    &["unet", "picture"],
    &["restore"],
    &["config", "upscale"],
    &["weights"],
    &["model"],
    &["latent"],
    &["train"],
];
/// Rooms that only tests use: they may look anywhere.
const TESTING: &[&str] = &["testing"];
/// The front door and the guide: their links name all rooms.
const FRONT: &[&str] = &["lib", "guide"];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The room of a file: the first part of its path within `src/`.
fn room(file: &Path) -> String {
    let first = file.iter().next().expect("a file has a name");
    Path::new(first)
        .file_stem()
        .expect("a file has a name")
        .to_string_lossy()
        .into_owned()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code without comments, and without the items that are compiled for tests or documentation
/// only. Returns the modules in other files that are left out with them as well.
fn shipped(source: &str) -> (String, Vec<String>) {
    let mut code = String::new();
    let mut modules = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        let condition = trimmed.strip_prefix("#[cfg(");
        let left_out = condition.is_some_and(|condition| {
            ["test)", "doc)", "all(test,"]
                .iter()
                .any(|start| condition.starts_with(start))
        });
        if !left_out {
            code.push_str(line.split("//").next().unwrap_or_default());
            code.push('\n');
            continue;
        }
        // An item ends with the line that closes it, indented as it began.
        let indent = &line[..line.len() - trimmed.len()];
        for line in lines.by_ref() {
            if let Some(module) = line.trim().split("mod ").nth(1)
                && let Some(name) = module.strip_suffix(';')
            {
                modules.push(name.to_owned());
            }
            let closes = line.strip_prefix(indent).is_some_and(|rest| {
                !rest.starts_with(' ') && (rest.starts_with('}') || rest.ends_with(';'))
            });
            if closes {
                break;
            }
        }
    }
    (code, modules)
}

/// What `code` names of the crate: the first part of each path that begins with `crate::`.
fn imports(code: &str) -> Vec<String> {
    let name = |path: &str| -> String {
        let end = path.find(|c: char| !c.is_alphanumeric() && c != '_');
        path[..end.unwrap_or(path.len())].to_owned()
    };
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let path = &code[at + "crate::".len()..];
        match path.strip_prefix('{') {
            Some(list) => {
                let list = &list[..list.find(';').unwrap_or(list.len())];
                found.extend(list.split(',').map(|path| name(path.trim())));
            }
            None => found.push(name(path)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// Imports that go up, as `file: room -> room`.
fn climbs(src: &Path) -> Vec<String> {
    let mut files = Vec::new();
    rust_files(src, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no source in {}", src.display());
    let mut left_out = Vec::new();
    let mut shipped_files = Vec::new();
    for path in files {
        let (code, modules) = shipped(&fs::read_to_string(&path).unwrap());
        let folder = match path.file_stem().unwrap().to_str() {
            Some("mod" | "lib") => path.parent().unwrap().to_owned(),
            _ => path.with_extension(""),
        };
        left_out.extend(modules.iter().map(|name| folder.join(name)));
        shipped_files.push((path, code));
    }
    let is_test = |path: &Path| {
        let tested = path.with_extension("");
        left_out.iter().any(|module| tested.starts_with(module))
    };
    let mut found = Vec::new();
    for (path, code) in &shipped_files {
        let file = path.strip_prefix(src).unwrap();
        let own = room(file);
        if is_test(path) || TESTING.contains(&&*own) || FRONT.contains(&&*own) {
            continue;
        }
        let Some(own_floor) = floor(&own) else {
            found.push(format!("{}: room `{own}` has no floor", file.display()));
            continue;
        };
        for other in imports(code) {
            let below = other == own || floor(&other).is_some_and(|other| other < own_floor);
            if !below {
                found.push(format!("{}: {own} -> {other}", file.display()));
            }
        }
    }
    found
}

#[test]
fn rooms_stack() {
    let found = climbs(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(
        found.is_empty(),
        "imports that climb:\n{}",
        found.join("\n")
    );
}

/// The test sees a wrong import, and only that.
#[test]
fn a_climb_is_seen() {
    let folder = tempfile::TempDir::new().unwrap();
    let write = |name: &str, code: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, code).unwrap();
    };
    write("lib.rs", "mod unet;\npub use model::GenDrPix;\n");
    write(
        "unet/mod.rs",
        "mod blocks;\n#[cfg(test)]\nmod parity;\nuse crate::backend::Backend;\n",
    );
    write("unet/parity.rs", "use crate::model::GenDrPix;\n");
    write(
        "unet/blocks.rs",
        "// crate::train\nuse crate::{options::Upscale, error};\n#[cfg(doc)]\nuse crate::model::Plan;\n\
         #[cfg(test)]\nmod tests {\n    use crate::latent::Vae;\n}\nfn f() -> crate::weights::Weights {}\n",
    );
    write("cellar/mod.rs", "");
    let found = climbs(folder.path());
    let expected = [
        "cellar/mod.rs: room `cellar` has no floor",
        "unet/blocks.rs: unet -> weights",
    ];
    assert_eq!(found, expected);
}
