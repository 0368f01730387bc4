//! Code that the training examples share: the log, and the interval between checkpoints.

use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Number of steps from one line of the log to the next.
pub const LOG_EVERY: u64 = 20;
/// Time from one checkpoint to the next.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(180);
/// Template of the progress bar.
pub const STYLE: &str = "{elapsed_precise} {wide_bar} {pos}/{len}, {eta} left, {msg}";

/// The file `log.jsonl` in the folder of a run. The first line creates it, so a run that is refused
/// leaves no log.
pub struct Log {
    path: PathBuf,
    file: Option<File>,
}

impl Log {
    pub fn new(folder: &Path) -> Self {
        Self {
            path: folder.join("log.jsonl"),
            file: None,
        }
    }

    /// Appends a line of JSON.
    pub fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            empty => {
                if let Some(folder) = self.path.parent() {
                    fs::create_dir_all(folder)?;
                }
                let mut options = OpenOptions::new();
                empty.insert(options.create(true).append(true).open(&self.path)?)
            }
        };
        writeln!(file, "{}", serde_json::to_string(line)?)
    }
}

/// Decides when to save a checkpoint.
pub struct CheckpointTimer(Instant);

impl CheckpointTimer {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns whether a checkpoint is due, and if so restarts the interval.
    pub fn due(&mut self) -> bool {
        let due = self.0.elapsed() > CHECKPOINT_EVERY;
        if due {
            self.0 = Instant::now();
        }
        due
    }
}
