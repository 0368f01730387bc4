//! Sources of training pictures: the procedural generator, a folder, or both.

use super::procedural;
use super::random::rng_stream;
use crate::error::{Error, Result};
use crate::pixels::Pixels;
use crate::pixels::planes::Planes;
use image::{ImageFormat, ImageReader};
use rand::Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Side in pixels of the pictures that crops are drawn from: procedural pictures, and regions of
/// larger files.
const SIDE: usize = 512;

/// A source of training pictures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pictures {
    /// An endless sequence of procedural pictures: see [`procedural`].
    #[default]
    Procedural,
    /// The picture files in a folder and its subfolders. Files whose extension is not that of a
    /// supported format are ignored. Links to folders are not followed.
    Folder(PathBuf),
    /// Both kinds of pictures.
    Mixed {
        /// Folder of picture files, as for [`Folder`](Self::Folder).
        folder: PathBuf,
        /// Share of procedural pictures, from 0 to 1.
        procedural: f64,
    },
}

impl Pictures {
    /// Opens the source of pictures whose sides are at least `smallest` pixels.
    ///
    /// All files of a folder are decoded once, in parallel. Broken and small files are skipped now,
    /// with the [reason](PictureSource::skipped), so that they do not interrupt the training later.
    ///
    /// # Errors
    ///
    /// - [`Error::Config`] if `smallest` is larger than a procedural picture, or the share is not
    ///   between 0 and 1.
    /// - [`Error::Io`] if the folder or a subfolder does not exist, is not a folder or cannot be
    ///   listed.
    /// - [`Error::NoPictures`] if no file can be used.
    pub fn open(&self, smallest: usize) -> Result<PictureSource> {
        let (folder, procedural) = match self {
            Self::Procedural => (None, 1.0),
            Self::Folder(folder) => (Some(folder), 0.0),
            Self::Mixed { folder, procedural } => (Some(folder), *procedural),
        };
        if !(0.0..=1.0).contains(&procedural) {
            let (field, reason) = ("procedural", format!("{procedural} is not between 0 and 1"));
            return Err(Error::Config { field, reason });
        }
        if procedural > 0.0 && smallest > SIDE {
            let reason = format!(
                "needs pictures of at least {smallest} pixels per side, but procedural pictures have {SIDE}"
            );
            let field = "crop";
            return Err(Error::Config { field, reason });
        }
        let mut source = PictureSource {
            procedural,
            smallest,
            ..PictureSource::default()
        };
        let Some(folder) = folder else {
            return Ok(source);
        };
        let mut files = Vec::new();
        list_picture_files(folder, &mut files)?;
        // The operating system lists files in any order. A seed must give the same pictures on
        // every machine.
        files.sort();
        let found = files.len();
        let checked: Vec<_> = files
            .into_par_iter()
            .map(|path| match check_picture(&path, smallest) {
                Ok(()) => Ok(path),
                Err(reason) => Err(Skipped { path, reason }),
            })
            .collect();
        for file in checked {
            match file {
                Ok(path) => source.files.push(path),
                Err(skipped) => source.skipped.push(skipped),
            }
        }
        if source.files.is_empty() {
            let count = |kind: fn(&SkipReason) -> bool| {
                let skipped = source.skipped.iter();
                skipped.filter(|skipped| kind(&skipped.reason)).count()
            };
            return Err(Error::NoPictures {
                folder: folder.clone(),
                found,
                broken: count(|reason| matches!(reason, SkipReason::Broken(_))),
                small: count(|reason| matches!(reason, SkipReason::Small { .. })),
                smallest,
            });
        }
        Ok(source)
    }
}

/// An opened source of pictures. Created by [`Pictures::open`].
#[derive(Clone, Debug, Default)]
pub struct PictureSource {
    /// Share of procedural pictures.
    procedural: f64,
    /// Files to draw from, sorted. Empty if all pictures are procedural.
    files: Vec<PathBuf>,
    skipped: Vec<Skipped>,
    /// Smallest side of a file's picture that can be used.
    smallest: usize,
}

/// A file that is not used for training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// Why the file is not used.
    pub reason: SkipReason,
}

/// Why a file is not used for training.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// The file cannot be read or decoded.
    #[error("{0}")]
    Broken(String),
    /// The picture is smaller than a crop with its margin.
    #[error("{width}x{height} pixels, but at least {smallest} per side are needed")]
    Small {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Smallest side that can be used.
        smallest: usize,
    },
}

impl PictureSource {
    /// Returns the number of files to draw from. 0 if all pictures are procedural.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Files that are not used, sorted.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Returns picture `index` of the sequence that `seed` defines. It has at least the size that
    /// [`Pictures::open`] was given.
    ///
    /// Each file of a folder appears once in every epoch, and the order differs from epoch to
    /// epoch. Of a larger file, a random region of 512 pixels per side is returned. A file that has
    /// become unreadable is replaced by the next readable one.
    ///
    /// # Panics
    ///
    /// Panics if no file of the folder can be read any more.
    pub(super) fn picture(&self, seed: u64, index: u64) -> Planes {
        let mut rng = rng_stream(!seed, index);
        // A share of 0 or 1 draws no random number.
        let is_procedural = match self.procedural {
            0.0 => false,
            1.0 => true,
            share => rng.random_bool(share),
        };
        if is_procedural {
            return procedural::picture(seed.wrapping_add(index), SIDE, SIDE);
        }
        let count = self.files.len() as u64;
        let mut order: Vec<usize> = (0..self.files.len()).collect();
        order.shuffle(&mut rng_stream(seed, index / count));
        let first = (index % count) as usize;
        let picture = (first..first + self.files.len())
            .find_map(|i| read_picture(&self.files[order[i % order.len()]]).ok())
            .unwrap_or_else(|| panic!("none of the {count} picture files can be read any more"));
        let side = SIDE.max(self.smallest);
        let [width, height] = [picture.width, picture.height].map(|n| n.min(side));
        let x = rng.random_range(0..=picture.width - width);
        let y = rng.random_range(0..=picture.height - height);
        picture.crop(x, y, width, height)
    }
}

/// Reads the colour of a picture file, RGB in 0..1. The file's content determines its format.
///
/// # Errors
///
/// - [`Error::Io`] if the file cannot be read.
/// - [`Error::Format`] if it is not a picture that can be decoded.
/// - [`Error::NonFinitePicture`] if a float picture contains NaN or infinity.
pub fn read_picture(path: impl AsRef<Path>) -> Result<Planes> {
    let path = path.as_ref();
    let reader = ImageReader::open(path).map_err(Error::io(path))?;
    let reader = reader.with_guessed_format().map_err(Error::io(path))?;
    let image = reader
        .decode()
        .map_err(|error| Error::format(path, error.to_string()))?;
    Ok(Pixels::read(&image)?.rgb)
}

/// Checks that a file is a picture whose sides are at least `smallest`.
fn check_picture(path: &Path, smallest: usize) -> Result<(), SkipReason> {
    let picture = read_picture(path).map_err(|error| {
        // `Skipped` has the path already.
        SkipReason::Broken(match error {
            Error::Format { reason, .. } => reason,
            Error::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        })
    })?;
    let (width, height) = (picture.width, picture.height);
    if width.min(height) < smallest {
        return Err(SkipReason::Small {
            width,
            height,
            smallest,
        });
    }
    Ok(())
}

/// Adds the picture files in `folder` and its subfolders to `files`.
fn list_picture_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let path = entry.path();
        // The type of a link itself, not of its target: links can form a cycle.
        if entry.file_type().map_err(Error::io(&path))?.is_dir() {
            list_picture_files(&path, files)?;
        } else if ImageFormat::from_path(&path).is_ok_and(|format| format.reading_enabled())
            && !path.is_dir()
        {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};
    use tempfile::TempDir;

    fn save(folder: &TempDir, name: &str, width: u32, height: u32, red: u8) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let picture = RgbImage::from_pixel(width, height, Rgb([red, 0, 0]));
        picture.save(path).unwrap();
    }

    fn open(folder: &TempDir, smallest: usize) -> Result<PictureSource> {
        Pictures::Folder(folder.path().to_owned()).open(smallest)
    }

    #[test]
    fn folders_are_read_and_skipped_files_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder, "b.png", 40, 30, 1);
        save(&folder, "deep/er/a.jpg", 31, 50, 2);
        save(&folder, "small.png", 40, 29, 3);
        fs::write(folder.path().join("broken.png"), b"no picture").unwrap();
        fs::write(folder.path().join("notes.txt"), b"no picture").unwrap();
        let whole = fs::read(folder.path().join("b.png")).unwrap();
        fs::write(folder.path().join("cut.png"), &whole[..whole.len() / 2]).unwrap();
        // The content determines the format, not the name.
        fs::write(folder.path().join("deep/named.webp"), &whole).unwrap();

        let source = open(&folder, 30).unwrap();
        assert_eq!(source.files(), 3);
        let names: Vec<_> = source
            .skipped()
            .iter()
            .map(|skipped| skipped.path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["broken.png", "cut.png", "small.png"]);
        let reasons: Vec<_> = source.skipped().iter().map(|s| &s.reason).collect();
        assert!(matches!(reasons[0], SkipReason::Broken(_)));
        assert!(matches!(reasons[1], SkipReason::Broken(_)));
        let small = "40x29 pixels, but at least 30 per side are needed";
        assert_eq!(reasons[2].to_string(), small);
    }

    #[test]
    fn each_file_appears_once_in_an_epoch() {
        let folder = tempfile::tempdir().unwrap();
        for red in 0..5u8 {
            save(
                &folder,
                &format!("{red}.png"),
                600 + u32::from(red),
                20,
                red,
            );
        }
        let source = open(&folder, 16).unwrap();
        let epoch = |epoch: u64| -> Vec<u8> {
            let pictures = (0..5).map(|i| source.picture(7, 5 * epoch + i));
            pictures
                .map(|picture| {
                    assert_eq!((picture.width, picture.height), (512, 20));
                    (picture.data[0] * 255.0).round() as u8
                })
                .collect()
        };
        let epochs: Vec<_> = (0..4).map(epoch).collect();
        for reds in &epochs {
            let mut sorted = reds.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
        assert!(epochs.iter().any(|reds| reds != &epochs[0]));
        // The sequence depends on the seed alone.
        assert_eq!(source.picture(7, 3), source.picture(7, 3));
        assert!((0..5).any(|i| source.picture(7, i).data[0] != source.picture(8, i).data[0]));
    }

    #[test]
    fn files_and_procedural_pictures_are_mixed_by_share() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder, "red.png", 40, 40, 255);
        let mixed = |procedural| {
            let folder = folder.path().to_owned();
            Pictures::Mixed { folder, procedural }.open(16)
        };
        let source = mixed(0.5).unwrap();
        let count_procedural = |source: &PictureSource| {
            let picture = |index| source.picture(3, index);
            (0..24).filter(|&i| picture(i).width == SIDE).count()
        };
        assert!((6..=18).contains(&count_procedural(&source)));
        assert_eq!(count_procedural(&mixed(0.0).unwrap()), 0);
        assert_eq!(count_procedural(&mixed(1.0).unwrap()), 24);
        assert_eq!(source.picture(3, 0), source.picture(3, 0));
        for share in [-0.1, 1.1, f64::NAN] {
            let error = mixed(share).unwrap_err().to_string();
            assert!(error.contains("config `procedural`"), "{error}");
        }
    }

    #[test]
    fn a_file_that_vanishes_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder, "0.png", 20, 20, 0);
        save(&folder, "1.png", 20, 20, 255);
        let source = open(&folder, 16).unwrap();
        fs::remove_file(folder.path().join("0.png")).unwrap();
        assert!((0..4).all(|i| source.picture(1, i).data[0] == 1.0));
    }

    #[test]
    fn folders_without_usable_pictures_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = open(&folder, 16).unwrap_err();
        assert!(
            matches!(error, Error::NoPictures { found: 0, .. }),
            "{error}"
        );
        save(&folder, "a.png", 8, 80, 0);
        fs::write(folder.path().join("b.png"), b"no picture").unwrap();
        let error = open(&folder, 16).unwrap_err().to_string();
        assert!(
            error.contains("of 2 picture files, 1 cannot be decoded and 1 are smaller than 16x16"),
            "{error}"
        );
        for path in [folder.path().join("absent"), folder.path().join("a.png")] {
            let error = Pictures::Folder(path.clone()).open(16).unwrap_err();
            assert!(
                matches!(&error, Error::Io { path: found, .. } if *found == path),
                "{error}"
            );
        }
        let error = Pictures::Procedural.open(513).unwrap_err().to_string();
        assert!(error.contains("config `crop`"), "{error}");
    }
}
