//! Checkpoints of a training run. Each is a folder `checkpoint-N`, named after the steps done, and
//! is written completely or not at all.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// File with the step and the config of a checkpoint.
const STATE_FILE: &str = "state.json";
/// Prefix of a checkpoint folder's name. The number of steps done follows.
const FOLDER_PREFIX: &str = "checkpoint-";
/// Name of a checkpoint folder that is being written.
const UNFINISHED_FOLDER: &str = "checkpoint.unfinished";

/// Config fields that may differ between a checkpoint and the training that resumes it: the number
/// of steps, and how often to write sample sheets.
const IGNORED_FIELDS: [&str; 2] = ["steps", "samples_every"];

/// The checkpoint folder of one training run. It keeps the last checkpoint.
#[derive(Debug)]
pub(super) struct CheckpointFolder {
    folder: PathBuf,
    /// Config of the training. A checkpoint of another config is refused.
    config: Value,
}

/// Step and config of a checkpoint.
#[derive(Serialize, Deserialize)]
struct CheckpointState {
    step: u64,
    config: Value,
}

impl CheckpointFolder {
    /// Checkpoints in `folder` of a training run with `config`. Fields in [`IGNORED_FIELDS`] may
    /// change between runs.
    pub(super) fn new(folder: &Path, config: &impl Serialize) -> Self {
        Self {
            folder: folder.to_owned(),
            config: serde_json::to_value(config).expect("a config is JSON"),
        }
    }

    /// Saves a checkpoint after `step` steps, unless there is one of that step. `write` writes its
    /// files into a folder, which is renamed when it is complete. Only then are earlier checkpoints
    /// removed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the folder cannot be written, and the errors of `write`. Earlier
    /// checkpoints stay.
    pub(super) fn save(&self, step: u64, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        if self.list()?.iter().any(|(found, _)| *found == step) {
            // It has the same content, and replacing it would leave a moment without a checkpoint.
            return Ok(());
        }
        let unfinished = self.folder.join(UNFINISHED_FOLDER);
        let written = self.write(&unfinished, step, write);
        if written.is_err() {
            // If this fails, the remains only waste space. The first error is more important.
            let _ = fs::remove_dir_all(&unfinished);
        }
        written?;
        for (old, path) in self.list()? {
            if old != step {
                fs::remove_dir_all(&path).map_err(Error::io(&path))?;
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
            fs::remove_dir_all(unfinished).map_err(Error::io(unfinished))?;
        }
        fs::create_dir_all(unfinished).map_err(Error::io(unfinished))?;
        write(unfinished)?;
        let config = self.config.clone();
        let state = serde_json::to_string_pretty(&CheckpointState { step, config })
            .expect("a state is JSON");
        let path = unfinished.join(STATE_FILE);
        fs::write(&path, state).map_err(Error::io(&path))?;
        let finished = self.folder.join(format!("{FOLDER_PREFIX}{step}"));
        fs::rename(unfinished, &finished).map_err(Error::io(&finished))
    }

    /// Returns the last checkpoint, if any: the number of steps done and the folder.
    ///
    /// # Errors
    ///
    /// - [`Error::Io`] or [`Error::Format`] if it cannot be read.
    /// - [`Error::Format`] if it has another config. The error lists the fields that differ.
    pub(super) fn latest(&self) -> Result<Option<(u64, PathBuf)>> {
        let Some((step, folder)) = self.list()?.into_iter().max() else {
            return Ok(None);
        };
        let path = folder.join(STATE_FILE);
        let invalid = |reason| Error::format(&path, reason);
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let state: CheckpointState =
            serde_json::from_str(&text).map_err(|e| invalid(e.to_string()))?;
        if state.step != step {
            return Err(invalid(format!(
                "is from step {}, but the folder is named after step {step}",
                state.step
            )));
        }
        let mut differing = Vec::new();
        differences("", &state.config, &self.config, &mut differing);
        if !differing.is_empty() {
            let fields = differing.join("; ");
            return Err(invalid(format!("was saved with another config: {fields}")));
        }
        Ok(Some((step, folder)))
    }

    /// Lists the complete checkpoints with their numbers of steps.
    fn list(&self) -> Result<Vec<(u64, PathBuf)>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(&self.folder)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::io(&self.folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let step = name.and_then(|name| name.strip_prefix(FOLDER_PREFIX)?.parse().ok());
            found.extend(step.map(|step| (step, path)));
        }
        Ok(found)
    }
}

/// Lists the fields that differ between two configs, except [`IGNORED_FIELDS`].
fn differences(name: &str, found: &Value, expected: &Value, list: &mut Vec<String>) {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<_> = a.keys().chain(b.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys
                .into_iter()
                .filter(|key| !IGNORED_FIELDS.contains(&key.as_str()))
            {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                let value =
                    |map: &serde_json::Map<_, _>| map.get(key).cloned().unwrap_or(Value::Null);
                differences(&name, &value(a), &value(b), list);
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
        move |folder| fs::write(folder.join("weights"), name).map_err(Error::io(folder))
    }

    fn read(checkpoints: &CheckpointFolder) -> Option<(u64, String)> {
        let (step, folder) = checkpoints.latest().unwrap()?;
        Some((step, fs::read_to_string(folder.join("weights")).unwrap()))
    }

    #[test]
    fn the_last_checkpoint_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = CheckpointFolder::new(&folder.path().join("new"), &json!({}));
        assert_eq!(read(&checkpoints), None);
        for (step, name) in [(9, "nine"), (10, "ten"), (200, "last")] {
            checkpoints.save(step, put(name)).unwrap();
            assert_eq!(read(&checkpoints), Some((step, name.to_owned())));
        }
        assert_eq!(checkpoints.list().unwrap().len(), 1);
        checkpoints
            .save(200, |_| panic!("a step's checkpoint is written once"))
            .unwrap();
        assert_eq!(read(&checkpoints), Some((200, "last".to_owned())));
    }

    #[test]
    fn a_failed_save_keeps_the_previous_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = CheckpointFolder::new(folder.path(), &json!({}));
        checkpoints.save(1, put("one")).unwrap();
        let full = |folder: &Path| {
            fs::write(folder.join("weights"), "ha").unwrap();
            Err(Error::io(folder)(io::Error::from(
                io::ErrorKind::StorageFull,
            )))
        };
        assert!(matches!(
            checkpoints.save(2, full),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull
        ));
        assert_eq!(read(&checkpoints), Some((1, "one".to_owned())));
        assert!(!folder.path().join(UNFINISHED_FOLDER).exists());
    }

    #[test]
    fn an_unfinished_checkpoint_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = CheckpointFolder::new(folder.path(), &json!({}));
        checkpoints.save(1, put("one")).unwrap();
        let unfinished = folder.path().join(UNFINISHED_FOLDER);
        fs::create_dir(&unfinished).unwrap();
        fs::write(unfinished.join("weights"), "tw").unwrap();
        assert_eq!(read(&checkpoints), Some((1, "one".to_owned())));
        checkpoints.save(2, put("two")).unwrap();
        assert_eq!(read(&checkpoints), Some((2, "two".to_owned())));
    }

    #[test]
    fn a_checkpoint_of_another_config_is_refused_and_the_fields_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let with = |config| CheckpointFolder::new(folder.path(), &config);
        with(json!({ "steps": 5, "data": { "crop": 64, "batch": 2 } }))
            .save(1, put("one"))
            .unwrap();
        let longer = with(json!({ "steps": 9, "data": { "crop": 64, "batch": 2 } }));
        assert!(longer.latest().unwrap().is_some());
        let error = with(json!({ "steps": 5, "data": { "crop": 32, "batch": 2 } }))
            .latest()
            .unwrap_err()
            .to_string();
        assert!(error.contains("`data.crop` is 64, not 32"), "{error}");
        assert!(!error.contains("batch"), "{error}");
    }

    #[test]
    fn an_invalid_state_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = CheckpointFolder::new(folder.path(), &json!({}));
        checkpoints.save(1, put("one")).unwrap();
        fs::write(folder.path().join("checkpoint-1").join(STATE_FILE), "{").unwrap();
        assert!(matches!(checkpoints.latest(), Err(Error::Format { .. })));
    }
}
