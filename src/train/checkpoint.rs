//! Where trainings are kept: a folder `checkpoint-N` of the step reached, whole or not there.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// File with what a checkpoint is of.
const STATE: &str = "state.json";
/// Start of a checkpoint folder's name; the steps done follow.
const PREFIX: &str = "checkpoint-";
/// Name of a checkpoint that is being written.
const UNFINISHED: &str = "checkpoint.unfinished";

/// Fields that are no part of what has been: how long to go on, and how often to look.
const FREE: [&str; 2] = ["steps", "samples_every"];

/// The checkpoints of one training: the last one is kept.
#[derive(Debug)]
pub(super) struct Checkpoints {
    folder: PathBuf,
    /// What is trained; a checkpoint of something else is refused.
    config: Value,
}

/// What a checkpoint is of.
#[derive(Serialize, Deserialize)]
struct State {
    step: u64,
    config: Value,
}

impl Checkpoints {
    /// Of the training `config` in `folder`. The config's fields named in [`FREE`] may change between runs.
    pub(super) fn new(folder: &Path, config: &impl Serialize) -> Self {
        Self {
            folder: folder.to_owned(),
            config: serde_json::to_value(config).expect("a config is JSON"),
        }
    }

    /// Saves a checkpoint after `step` steps, if there is none of that step, whose files `write` puts into a folder. It is renamed when whole, and
    /// only then are those before it removed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the folder cannot be written, and those of `write`; the checkpoints before it stay.
    pub(super) fn save(&self, step: u64, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        if self.found()?.iter().any(|(found, _)| *found == step) {
            // It holds the same; to replace it would leave a moment without any.
            return Ok(());
        }
        let unfinished = self.folder.join(UNFINISHED);
        let written = self.write(&unfinished, step, write);
        if written.is_err() {
            // What is left of a failed attempt only takes up room; the error that counts is the first.
            let _ = fs::remove_dir_all(&unfinished);
        }
        written?;
        for (old, path) in self.found()? {
            if old != step {
                fs::remove_dir_all(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    fn write(
        &self,
        unfinished: &Path,
        step: u64,
        write: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        if unfinished.exists() {
            fs::remove_dir_all(unfinished).map_err(at(unfinished))?;
        }
        fs::create_dir_all(unfinished).map_err(at(unfinished))?;
        write(unfinished)?;
        let config = self.config.clone();
        let state = serde_json::to_string_pretty(&State { step, config }).expect("a state is JSON");
        let path = unfinished.join(STATE);
        fs::write(&path, state).map_err(at(&path))?;
        let finished = self.folder.join(format!("{PREFIX}{step}"));
        fs::rename(unfinished, &finished).map_err(at(&finished))
    }

    /// The last checkpoint, if any: the steps done and its folder.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::Format`] when it cannot be read, [`Error::Format`] when it is of another config, with
    /// the fields that differ.
    pub(super) fn latest(&self) -> Result<Option<(u64, PathBuf)>> {
        let Some((step, folder)) = self.found()?.into_iter().max() else {
            return Ok(None);
        };
        let path = folder.join(STATE);
        let invalid = |reason| Error::Format {
            path: path.clone(),
            reason,
        };
        let text = fs::read_to_string(&path).map_err(at(&path))?;
        let state: State = serde_json::from_str(&text).map_err(|e| invalid(e.to_string()))?;
        if state.step != step {
            return Err(invalid(format!("is of step {}", state.step)));
        }
        let mut differing = Vec::new();
        differences("", &state.config, &self.config, &mut differing);
        if !differing.is_empty() {
            let fields = differing.join("; ");
            return Err(invalid(format!("is of another config: {fields}")));
        }
        Ok(Some((step, folder)))
    }

    /// Finished checkpoints by the steps done.
    fn found(&self) -> Result<Vec<(u64, PathBuf)>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at(&self.folder)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(at(&self.folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let step = name.and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
            found.extend(step.map(|step| (step, path)));
        }
        Ok(found)
    }
}

/// From the operating system's error to ours of the file at `path`.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        path: path.clone(),
        source,
    }
}

/// Lists the fields in which two configs differ, but those of [`FREE`].
fn differences(name: &str, found: &Value, expected: &Value, list: &mut Vec<String>) {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<_> = a.keys().chain(b.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys.into_iter().filter(|key| !FREE.contains(&key.as_str())) {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                let of = |map: &serde_json::Map<_, _>| map.get(key).cloned().unwrap_or(Value::Null);
                differences(&name, &of(a), &of(b), list);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{name}[{i}]"), a, b, list);
            }
        }
        _ if found != expected => list.push(format!("`{name}` is {found}, not {expected}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn put(name: &'static str) -> impl Fn(&Path) -> Result<()> {
        move |folder| fs::write(folder.join("weights"), name).map_err(at(folder))
    }

    fn read(checkpoints: &Checkpoints) -> Option<(u64, String)> {
        let (step, folder) = checkpoints.latest().unwrap()?;
        Some((step, fs::read_to_string(folder.join("weights")).unwrap()))
    }

    #[test]
    fn the_last_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(&folder.path().join("new"), &json!({}));
        assert_eq!(read(&checkpoints), None);
        for (step, name) in [(9, "nine"), (10, "ten"), (200, "last")] {
            checkpoints.save(step, put(name)).unwrap();
            assert_eq!(read(&checkpoints), Some((step, name.to_owned())));
        }
        assert_eq!(checkpoints.found().unwrap().len(), 1);
        checkpoints
            .save(200, |_| panic!("a step's checkpoint is written once"))
            .unwrap();
        assert_eq!(read(&checkpoints), Some((200, "last".to_owned())));
    }

    #[test]
    fn a_failed_save_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path(), &json!({}));
        checkpoints.save(1, put("one")).unwrap();
        let full = |folder: &Path| {
            fs::write(folder.join("weights"), "ha").unwrap();
            Err(at(folder)(io::Error::from(io::ErrorKind::StorageFull)))
        };
        assert!(matches!(
            checkpoints.save(2, full),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull
        ));
        assert_eq!(read(&checkpoints), Some((1, "one".to_owned())));
        assert!(!folder.path().join(UNFINISHED).exists());
    }

    #[test]
    fn an_unfinished_one_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path(), &json!({}));
        checkpoints.save(1, put("one")).unwrap();
        let unfinished = folder.path().join(UNFINISHED);
        fs::create_dir(&unfinished).unwrap();
        fs::write(unfinished.join("weights"), "tw").unwrap();
        assert_eq!(read(&checkpoints), Some((1, "one".to_owned())));
        checkpoints.save(2, put("two")).unwrap();
        assert_eq!(read(&checkpoints), Some((2, "two".to_owned())));
    }

    #[test]
    fn another_config_is_refused_with_its_fields() {
        let folder = tempfile::tempdir().unwrap();
        let of = |config| Checkpoints::new(folder.path(), &config);
        of(json!({ "steps": 5, "data": { "crop": 64, "batch": 2 } }))
            .save(1, put("one"))
            .unwrap();
        let longer = of(json!({ "steps": 9, "data": { "crop": 64, "batch": 2 } }));
        assert!(longer.latest().unwrap().is_some());
        let error = of(json!({ "steps": 5, "data": { "crop": 32, "batch": 2 } }))
            .latest()
            .unwrap_err()
            .to_string();
        assert!(error.contains("`data.crop` is 64, not 32"), "{error}");
        assert!(!error.contains("batch"), "{error}");
    }

    #[test]
    fn garbage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path(), &json!({}));
        checkpoints.save(1, put("one")).unwrap();
        fs::write(folder.path().join("checkpoint-1").join(STATE), "{").unwrap();
        assert!(matches!(checkpoints.latest(), Err(Error::Format { .. })));
    }
}
