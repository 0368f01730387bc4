//! A report on all pictures, as JSON.

use std::path::Path;

use gendr_pix::picture::Warning;
use serde::Serialize;

/// The report on a run.
#[derive(Default, Serialize)]
pub struct Report {
    pub upscaled: usize,
    pub skipped: usize,
    pub failed: usize,
    pub interrupted: bool,
    pub pictures: Vec<Entry>,
    /// The reason why the run did not start, or stopped early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The report on one picture. Paths that are not Unicode contain replacement characters.
#[derive(Serialize)]
pub struct Entry {
    pub input: String,
    pub output: String,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    Upscaled(UpscaledPicture),
    Skipped,
    Failed { error: String },
}

/// A picture that has been written.
#[derive(Serialize)]
pub struct UpscaledPicture {
    /// Width and height of the input in pixels.
    pub from: [u32; 2],
    /// Width and height of the output in pixels.
    pub to: [u32; 2],
    /// Time from the decoded picture to the written file.
    pub seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<String>,
    #[serde(serialize_with = "as_text")]
    pub warnings: Vec<Warning>,
}

impl Report {
    pub fn add(&mut self, input: &Path, output: &Path, outcome: Outcome) {
        match outcome {
            Outcome::Upscaled(_) => self.upscaled += 1,
            Outcome::Skipped => self.skipped += 1,
            Outcome::Failed { .. } => self.failed += 1,
        }
        self.pictures.push(Entry {
            input: text(input),
            output: text(output),
            outcome,
        });
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("text and numbers can be written as JSON")
    }
}

pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn as_text<S: serde::Serializer>(warnings: &[Warning], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(warnings.iter().map(Warning::to_string))
}
