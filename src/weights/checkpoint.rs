//! The tensors of one file or of several shards under one roof, checked against what a model needs.

use super::convert::{Value, decode};
use super::file::File;
use crate::error::{Error, Result};
use burn::tensor::{DType, TensorData};
use half::{bf16, f16};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Tensors of one or more files.
pub(crate) struct Checkpoint {
    /// Names all files together in errors.
    name: PathBuf,
    files: Vec<File>,
    /// The file of each key.
    places: BTreeMap<String, usize>,
}

/// A tensor that a model needs.
pub(crate) struct Wanted {
    pub(crate) key: String,
    /// Length of each dimension; `None` is any from one.
    pub(crate) shape: Vec<Option<usize>>,
}

impl Wanted {
    fn fits(&self, found: &[usize]) -> bool {
        self.shape.len() == found.len()
            && self
                .shape
                .iter()
                .zip(found)
                .all(|(expected, &found)| expected.map_or(found > 0, |expected| expected == found))
    }

    fn mismatch(&self, found: &[usize]) -> String {
        let expected: Vec<_> = self
            .shape
            .iter()
            .map(|length| length.map_or("1..".to_owned(), |length| length.to_string()))
            .collect();
        format!(
            "{} (expected [{}], found {found:?})",
            self.key,
            expected.join(", ")
        )
    }
}

impl Checkpoint {
    /// # Errors
    ///
    /// [`Error::Format`] when two files hold a tensor of the same key.
    pub(crate) fn new(name: PathBuf, files: Vec<File>) -> Result<Self> {
        let mut places = BTreeMap::new();
        for (place, file) in files.iter().enumerate() {
            for key in file.tensors.keys() {
                if let Some(other) = places.insert(key.clone(), place) {
                    return Err(file.invalid(format!(
                        "tensor `{key}` is also in {}",
                        files[other].name.display()
                    )));
                }
            }
        }
        Ok(Self {
            name,
            files,
            places,
        })
    }

    /// A checkpoint of one file.
    pub(crate) fn of_file(file: File) -> Self {
        let places = file.tensors.keys().map(|key| (key.clone(), 0)).collect();
        Self {
            name: file.name.clone(),
            files: vec![file],
            places,
        }
    }

    /// Number of tensors.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Checks that the tensors are those wanted, no more and no fewer, before any is read.
    ///
    /// # Errors
    ///
    /// - [`Error::Keys`] with all keys that are missing, unused or of another shape.
    /// - [`Error::Format`] when a tensor's type cannot be read.
    pub(crate) fn check(&self, wanted: &[Wanted]) -> Result<()> {
        let mut unused = self.places.clone();
        let mut missing = Vec::new();
        let mut misshapen = Vec::new();
        for want in wanted {
            match unused.remove(&want.key) {
                None => missing.push(want.key.clone()),
                Some(place) => {
                    let found = &self.files[place].tensors[&want.key].shape;
                    if !want.fits(found) {
                        misshapen.push(want.mismatch(found));
                    }
                }
            }
        }
        if !(missing.is_empty() && unused.is_empty() && misshapen.is_empty()) {
            return Err(Error::Keys {
                path: self.name.clone(),
                missing,
                unused: unused.into_keys().collect(),
                misshapen,
            });
        }
        for file in &self.files {
            for (key, entry) in &file.tensors {
                file.storage(key, entry)?;
            }
        }
        Ok(())
    }

    /// A tensor's values in the precision `dtype`; a matrix can be `transposed`.
    ///
    /// # Errors
    ///
    /// - [`Error::NonFiniteWeight`] when a value is not finite, or not after rounding to `dtype`.
    /// - [`Error::Format`] and [`Error::Io`] as of [`File::read`].
    pub(crate) fn read(&self, key: &str, transposed: bool, dtype: DType) -> Result<TensorData> {
        match dtype {
            DType::F64 => self.read_as::<f64>(key, transposed),
            DType::F16 => self.read_as::<f16>(key, transposed),
            DType::BF16 => self.read_as::<bf16>(key, transposed),
            _ => Ok(self.read_as::<f32>(key, transposed)?.convert_dtype(dtype)),
        }
    }

    fn read_as<E: Value>(&self, key: &str, transposed: bool) -> Result<TensorData> {
        let file = match self.places.get(key) {
            Some(&place) => &self.files[place],
            None => {
                return Err(Error::Format {
                    path: self.name.clone(),
                    reason: format!("has no tensor `{key}`"),
                });
            }
        };
        let (bytes, storage) = file.read(key)?;
        let mut shape = file.tensors[key].shape.clone();
        let rows = if transposed { shape[0] } else { 1 };
        let values: Vec<E> =
            decode(&bytes, storage, rows).ok_or_else(|| Error::NonFiniteWeight {
                path: file.name.clone(),
                key: key.to_owned(),
            })?;
        if transposed {
            shape.reverse();
        }
        Ok(TensorData::new(values, shape))
    }
}
