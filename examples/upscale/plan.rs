//! Finds the input pictures and their output paths, and rejects invalid combinations before any
//! work starts.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use image::ImageFormat;
use os_display::Quotable;

use crate::Result;

/// One picture to read, and the files to write.
#[derive(Clone)]
pub struct Job {
    pub input: PathBuf,
    pub output: PathBuf,
    /// The path of the comparison, if one is requested.
    pub comparison: Option<PathBuf>,
    /// Whether the output already exists and should be kept.
    pub skip: bool,
}

/// The request of the user.
pub struct Plan<'a> {
    pub inputs: &'a [PathBuf],
    pub output: &'a Path,
    pub compare: bool,
    pub skip_existing: bool,
}

impl Plan<'_> {
    /// Returns the jobs in the order of the inputs; the jobs of a folder are sorted by name.
    /// Creates missing folders.
    pub fn jobs(&self) -> Result<Vec<Job>> {
        let asks_for_folder = self
            .output
            .to_string_lossy()
            .ends_with(std::path::is_separator);
        let has_folder = self.inputs.iter().any(|input| input.is_dir());
        let into_folder = asks_for_folder || has_folder || self.output.is_dir();
        if !into_folder && self.inputs.len() > 1 {
            return Err(format!(
                "{} is not a folder, but several pictures need one: end the name of a new folder with `/`",
                self.output.quote()
            ));
        }
        let mut jobs = Vec::new();
        for input in self.inputs {
            if input.is_dir() {
                let pictures = self.pictures(input)?;
                if pictures.is_empty() {
                    return Err(format!("the folder {} contains no picture", input.quote()));
                }
                for picture in pictures {
                    let name = picture.strip_prefix(input).expect("found in the folder");
                    jobs.push(self.job(picture.clone(), self.output.join(name)));
                }
            } else if into_folder {
                let name = input
                    .file_name()
                    .ok_or_else(|| format!("{} does not name a picture", input.quote()))?;
                jobs.push(self.job(input.clone(), self.output.join(name)));
            } else if is_writable(self.output) {
                jobs.push(self.job(input.clone(), self.output.to_owned()));
            } else {
                return Err(format!(
                    "{}: only .png, .jpg, .webp, .tiff and .bmp can be written",
                    self.output.quote()
                ));
            }
        }
        check_names(&jobs)?;
        create_folders(&jobs, into_folder.then_some(self.output))?;
        Ok(jobs)
    }

    fn job(&self, input: PathBuf, mut output: PathBuf) -> Job {
        if !is_writable(&output) {
            output.set_extension("png");
        }
        Job {
            // Appended to the whole name, because there may be both a.jpg and a.png.
            comparison: self.compare.then(|| {
                let mut name = output.clone().into_os_string();
                name.push(".compare.png");
                name.into()
            }),
            skip: self.skip_existing && output.exists(),
            input,
            output,
        }
    }

    /// Returns the files below `folder` with the extension of a picture. Does not follow links to
    /// folders, and skips the output folder, so that the output of an earlier run is not enlarged
    /// again.
    fn pictures(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let own = fs::canonicalize(self.output).ok();
        // If the output is `folder` itself, it is not skipped here: the inputs would be
        // overwritten, which is rejected later.
        let own = own.filter(|own| fs::canonicalize(folder).is_ok_and(|folder| folder != *own));
        let mut pictures = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let fail = |error| format!("cannot read the folder {}: {error}", folder.quote());
            for entry in fs::read_dir(&folder).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                let path = entry.path();
                if entry.file_type().map_err(fail)?.is_dir() {
                    if own.is_none() || fs::canonicalize(&path).ok() != own {
                        folders.push(path);
                    }
                } else if is_readable(&path) && path.is_file() {
                    pictures.push(path);
                }
            }
        }
        pictures.sort();
        Ok(pictures)
    }
}

/// Rejects jobs that would write a file twice or overwrite an input.
fn check_names(jobs: &[Job]) -> Result<()> {
    let originals: HashSet<_> = jobs
        .iter()
        .flat_map(|job| fs::canonicalize(&job.input))
        .collect();
    let mut taken: HashMap<&Path, &Path> = HashMap::new();
    for job in jobs {
        for output in [Some(&job.output), job.comparison.as_ref()]
            .into_iter()
            .flatten()
        {
            if fs::canonicalize(output).is_ok_and(|path| originals.contains(&path)) {
                let output = output.quote();
                return Err(format!("{output} is an input and would be overwritten"));
            }
            if let Some(other) = taken.insert(output, &job.input) {
                return Err(format!(
                    "{} and {} would both be written to {}",
                    other.quote(),
                    job.input.quote(),
                    output.quote()
                ));
            }
        }
    }
    Ok(())
}

/// Creates the output folder `root` and its subfolders, and checks that every folder is writable.
/// The check uses unnamed files, which leave nothing behind.
fn create_folders(jobs: &[Job], root: Option<&Path>) -> Result<()> {
    let folders: HashSet<&Path> = jobs
        .iter()
        .filter(|job| !job.skip)
        .map(|job| folder_of(&job.output))
        .collect();
    for folder in folders {
        if root.is_some() {
            fs::create_dir_all(folder)
                .map_err(|error| format!("cannot create the folder {}: {error}", folder.quote()))?;
        }
        tempfile::tempfile_in(folder)
            .map_err(|error| format!("cannot write to the folder {}: {error}", folder.quote()))?;
    }
    Ok(())
}

fn is_readable(path: &Path) -> bool {
    ImageFormat::from_path(path).is_ok_and(|format| format.reading_enabled())
}

fn is_writable(path: &Path) -> bool {
    ImageFormat::from_path(path).is_ok_and(|format| format.writing_enabled())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
