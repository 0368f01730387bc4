//! Where training pictures come from: a generator, or a folder.

use super::procedural;
use crate::error::{Error, Result};
use crate::pixels::Pixels;
use crate::pixels::planes::Planes;
use image::{ImageFormat, ImageReader};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Side of a picture that crops are drawn from, in pixels: of procedural ones, and of parts of larger files.
const SIDE: usize = 512;

/// Where training pictures come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pictures {
    /// Pictures that are computed, an endless sequence: see [`procedural`].
    #[default]
    Procedural,
    /// Picture files of a folder and the folders in it, of the kinds that this crate reads (by their extensions; other
    /// files are passed over). Links to folders are not followed.
    Folder(PathBuf),
    /// Both.
    Mixed {
        /// Folder of picture files, as with [`Folder`](Self::Folder).
        folder: PathBuf,
        /// Share of pictures that are computed, from 0 to 1.
        procedural: f64,
    },
}

impl Pictures {
    /// Gets ready to draw pictures whose sides are `smallest` or more.
    ///
    /// The files of a folder are all decoded once, in parallel: the broken and the small ones are set aside now, with the
    /// [reason](PictureSource::skipped), and not in the middle of a training.
    ///
    /// # Errors
    ///
    /// - [`Error::Config`] when `smallest` is larger than procedural pictures are, or a share is not from 0 to 1.
    /// - [`Error::Io`] when the folder, or one in it, is absent, is not a folder or cannot be listed.
    /// - [`Error::NoPictures`] when no file is left.
    pub fn open(&self, smallest: usize) -> Result<PictureSource> {
        let (folder, procedural) = match self {
            Self::Procedural => (None, 1.0),
            Self::Folder(folder) => (Some(folder), 0.0),
            Self::Mixed { folder, procedural } => (Some(folder), *procedural),
        };
        if !(0.0..=1.0).contains(&procedural) {
            let (field, reason) = ("procedural", format!("{procedural} is not from 0 to 1"));
            return Err(Error::Config { field, reason });
        }
        if procedural > 0.0 && smallest > SIDE {
            let reason = format!("needs {smallest} pixels a side; procedural pictures have {SIDE}");
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
        list(folder, &mut files)?;
        // Folders are listed in any order: a seed must mean the same on every machine.
        files.sort();
        let found = files.len();
        let checked: Vec<_> = files
            .into_par_iter()
            .map(|path| match usable(&path, smallest) {
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
            let reason = |kind: fn(&SkipReason) -> bool| {
                let skipped = source.skipped.iter();
                skipped.filter(|skipped| kind(&skipped.reason)).count()
            };
            return Err(Error::NoPictures {
                folder: folder.clone(),
                found,
                broken: reason(|reason| matches!(reason, SkipReason::Broken(_))),
                small: reason(|reason| matches!(reason, SkipReason::Small { .. })),
                smallest,
            });
        }
        Ok(source)
    }
}

/// Pictures ready to be drawn. Made by [`Pictures::open`].
#[derive(Clone, Debug, Default)]
pub struct PictureSource {
    /// Share of procedural pictures.
    procedural: f64,
    /// Files to draw from, sorted; none when all pictures are procedural.
    files: Vec<PathBuf>,
    skipped: Vec<Skipped>,
    /// Least side of a file's picture.
    smallest: usize,
}

/// A file that is not trained on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// Why it is not.
    pub reason: SkipReason,
}

/// Why a file is not trained on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// It cannot be read or decoded.
    #[error("{0}")]
    Broken(String),
    /// It is smaller than a crop with the margin around it.
    #[error("{width}x{height} pixels, where {smallest} a side are needed")]
    Small {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Least side that can be used.
        smallest: usize,
    },
}

impl PictureSource {
    /// Number of files that are drawn from; 0 when all pictures are procedural.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Files that were set aside, sorted.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Picture `index` of the sequence that `seed` gives; at least as large as was asked for.
    ///
    /// Of a folder, each file comes once in every round, in another order each round, and larger files give a random part
    /// of 512 pixels a side. A file that has become unreadable since is replaced by the next that can be read.
    ///
    /// # Panics
    ///
    /// When no file of the folder can be read any more.
    pub(super) fn picture(&self, seed: u64, index: u64) -> Planes {
        let mut rng = stream(!seed, index);
        // No number is drawn where there is no choice.
        let computed = match self.procedural {
            0.0 => false,
            1.0 => true,
            share => rng.random_bool(share),
        };
        if computed {
            return procedural::picture(seed.wrapping_add(index), SIDE, SIDE);
        }
        let count = self.files.len() as u64;
        let mut order: Vec<usize> = (0..self.files.len()).collect();
        order.shuffle(&mut stream(seed, index / count));
        let first = (index % count) as usize;
        let picture = (first..first + self.files.len())
            .find_map(|i| read_picture(&self.files[order[i % order.len()]]).ok())
            .unwrap_or_else(|| panic!("none of {count} pictures can be read any more"));
        let side = SIDE.max(self.smallest);
        let [width, height] = [picture.width, picture.height].map(|n| n.min(side));
        let x = rng.random_range(0..=picture.width - width);
        let y = rng.random_range(0..=picture.height - height);
        picture.crop(x, y, width, height)
    }
}

/// Random numbers of part `index` of what `seed` gives.
pub(super) fn stream(seed: u64, index: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Reads a picture file's colour, RGB in 0..1; its kind is told by its content.
///
/// # Errors
///
/// - [`Error::Io`] when the file cannot be read.
/// - [`Error::Format`] when it is not a picture that can be decoded.
/// - [`Error::NonFinitePicture`] when a float picture holds NaN or infinity.
pub fn read_picture(path: impl AsRef<Path>) -> Result<Planes> {
    let path = path.as_ref();
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let reader = ImageReader::open(path).map_err(io)?;
    let reader = reader.with_guessed_format().map_err(io)?;
    let image = reader.decode().map_err(|error| Error::Format {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Pixels::read(&image)?.rgb)
}

fn usable(path: &Path, smallest: usize) -> Result<(), SkipReason> {
    let picture = read_picture(path).map_err(|error| {
        // The path is told beside.
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

/// Adds the picture files of `folder` and the folders in it.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let entry = entry.map_err(io(folder))?;
        let path = entry.path();
        // Of a link itself, not of what it leads to: links may go round in a circle.
        if entry.file_type().map_err(io(&path))?.is_dir() {
            list(&path, files)?;
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
    fn folders_are_read_and_what_cannot_be_used_is_told() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder, "b.png", 40, 30, 1);
        save(&folder, "deep/er/a.jpg", 31, 50, 2);
        save(&folder, "small.png", 40, 29, 3);
        fs::write(folder.path().join("broken.png"), b"no picture").unwrap();
        fs::write(folder.path().join("notes.txt"), b"no picture").unwrap();
        let whole = fs::read(folder.path().join("b.png")).unwrap();
        fs::write(folder.path().join("cut.png"), &whole[..whole.len() / 2]).unwrap();
        // A picture under another kind's name is what its content says.
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
        let small = "40x29 pixels, where 30 a side are needed";
        assert_eq!(reasons[2].to_string(), small);
    }

    #[test]
    fn each_file_comes_once_a_round() {
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
        let round = |round: u64| -> Vec<u8> {
            let pictures = (0..5).map(|i| source.picture(7, 5 * round + i));
            pictures
                .map(|picture| {
                    assert_eq!((picture.width, picture.height), (512, 20));
                    (picture.data[0] * 255.0).round() as u8
                })
                .collect()
        };
        let rounds: Vec<_> = (0..4).map(round).collect();
        for reds in &rounds {
            let mut sorted = reds.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
        assert!(rounds.iter().any(|reds| reds != &rounds[0]));
        // The same again, and otherwise for another seed.
        assert_eq!(source.picture(7, 3), source.picture(7, 3));
        assert!((0..5).any(|i| source.picture(7, i).data[0] != source.picture(8, i).data[0]));
    }

    #[test]
    fn files_and_computed_pictures_are_mixed_by_their_share() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder, "red.png", 40, 40, 255);
        let mixed = |procedural| {
            let folder = folder.path().to_owned();
            Pictures::Mixed { folder, procedural }.open(16)
        };
        let source = mixed(0.5).unwrap();
        let computed = |source: &PictureSource| {
            let of = |index| source.picture(3, index);
            (0..24).filter(|&i| of(i).width == SIDE).count()
        };
        assert!((6..=18).contains(&computed(&source)));
        assert_eq!(computed(&mixed(0.0).unwrap()), 0);
        assert_eq!(computed(&mixed(1.0).unwrap()), 24);
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
    fn folders_without_pictures_are_refused() {
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
            error.contains("of 2 picture files 1 cannot be decoded and 1 are smaller than 16x16"),
            "{error}"
        );
        for path in [folder.path().join("absent"), folder.path().join("a.png")] {
            let error = Pictures::Folder(path.clone()).open(16).unwrap_err();
            assert!(
                matches!(&error, Error::Io { path: of, .. } if *of == path),
                "{error}"
            );
        }
        let error = Pictures::Procedural.open(513).unwrap_err().to_string();
        assert!(error.contains("config `crop`"), "{error}");
    }
}
