//! The tensors of one file or of several shards, checked against the tensors that a model needs.

use super::WeightsSource;
use super::safetensors_file::SafetensorsFile;
use crate::error::{Error, Result};
use burn::tensor::{DType, Element, TensorData};
use half::{bf16, f16};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The tensors of one or more files.
pub(crate) struct Checkpoint {
    /// The path that errors state for all files.
    name: PathBuf,
    files: Vec<SafetensorsFile>,
    tensors: BTreeMap<String, TensorLocation>,
}

/// The location of a tensor.
#[derive(Clone)]
struct TensorLocation {
    /// Index of the file.
    file: usize,
    /// Key of the tensor in the file.
    key: String,
}

/// The key and the shape of a tensor that a model needs.
pub(crate) struct TensorSpec {
    pub(crate) key: String,
    /// Length of each dimension; `None` accepts any length from 1.
    pub(crate) shape: Vec<Option<usize>>,
}

impl TensorSpec {
    /// Returns whether a tensor of shape `found` is accepted.
    fn fits(&self, found: &[usize]) -> bool {
        let fits = |(expected, &found): (&Option<_>, _)| {
            expected.map_or(found > 0, |length| length == found)
        };
        self.shape.len() == found.len() && self.shape.iter().zip(found).all(fits)
    }

    /// Describes a tensor of the wrong shape `found`.
    fn mismatch(&self, found: &[usize]) -> String {
        let any_from_one = || "1..".to_owned();
        let lengths = self.shape.iter();
        let expected: Vec<_> = lengths
            .map(|length| length.map_or_else(any_from_one, |length| length.to_string()))
            .collect();
        let (key, expected) = (&self.key, expected.join(", "));
        format!("{key} (expected [{expected}], found {found:?})")
    }
}

impl Checkpoint {
    /// Combines the tensors of `files`.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] if two files contain a tensor with the same key.
    pub(crate) fn new(name: PathBuf, files: Vec<SafetensorsFile>) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (i, file) in files.iter().enumerate() {
            for key in file.keys() {
                let location = TensorLocation {
                    file: i,
                    key: key.clone(),
                };
                if let Some(other) = tensors.insert(key.clone(), location) {
                    let other = files[other.file].name.display();
                    let reason = format!("tensor `{key}` is also in {other}");
                    return Err(Error::format(&file.name, reason));
                }
            }
        }
        Ok(Self {
            name,
            files,
            tensors,
        })
    }

    /// Opens a checkpoint that consists of one file.
    ///
    /// # Errors
    ///
    /// The errors of [`SafetensorsFile::open`].
    pub(crate) fn open(source: WeightsSource) -> Result<Self> {
        let file = SafetensorsFile::open(source)?;
        Self::new(file.name.clone(), vec![file])
    }

    /// Drops the tensors of `keys`, if present. A model does not need these tensors, but its files
    /// may contain them.
    #[cfg(feature = "train")]
    pub(crate) fn ignore<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) {
        for key in keys {
            self.tensors.remove(key);
        }
    }

    /// Returns the number of tensors.
    pub(crate) fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Checks that the tensors are exactly those of `specs`. No tensor is read.
    ///
    /// # Errors
    ///
    /// - [`Error::Keys`] with all keys that are missing, unused or have another shape.
    /// - [`Error::Format`] if the type of a tensor is not supported.
    pub(crate) fn check(&self, specs: &[TensorSpec]) -> Result<()> {
        let mut unused = self.tensors.clone();
        let mut missing = Vec::new();
        let mut misshapen = Vec::new();
        for spec in specs {
            match unused.remove(&spec.key) {
                None => missing.push(spec.key.clone()),
                Some(location) => {
                    let found = &self.files[location.file].info(&location.key)?.shape;
                    if !spec.fits(found) {
                        misshapen.push(spec.mismatch(found));
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
        for location in self.tensors.values() {
            self.files[location.file].dtype(&location.key)?;
        }
        Ok(())
    }

    /// Renames the keys of all tensors.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] if two tensors would get the same key.
    #[cfg(feature = "latent")]
    pub(crate) fn renamed(self, rename: impl Fn(&str) -> String) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (key, location) in self.tensors {
            if let Some(other) = tensors.insert(rename(&key), location) {
                let reason = format!("tensors `{}` and `{key}` would get the same key", other.key);
                return Err(Error::format(&self.name, reason));
            }
        }
        Ok(Self { tensors, ..self })
    }

    /// Reads the values of a tensor and converts them to `dtype`.
    ///
    /// # Errors
    ///
    /// - [`Error::NonFiniteWeight`] if a value is not finite before or after rounding to `dtype`.
    /// - [`Error::Format`] and [`Error::Io`] as in [`SafetensorsFile::read`].
    pub(crate) fn read(&self, key: &str, dtype: DType) -> Result<TensorData> {
        let Some(location) = self.tensors.get(key) else {
            return Err(Error::format(&self.name, format!("has no tensor `{key}`")));
        };
        let file = &self.files[location.file];
        let data = file.read(&location.key)?.convert_dtype(dtype);
        if !is_finite(&data) {
            return Err(Error::NonFiniteWeight {
                path: file.name.clone(),
                key: key.to_owned(),
            });
        }
        Ok(data)
    }
}

/// Returns whether all values are finite. A value that is not finite stays so in any conversion.
pub(crate) fn is_finite(data: &TensorData) -> bool {
    // The generic iterator makes a call per value, so the common types are handled separately for
    // speed.
    match data.dtype {
        DType::F32 => slice::<f32>(data).iter().all(|value| value.is_finite()),
        DType::F16 => slice::<f16>(data).iter().all(|value| value.is_finite()),
        DType::BF16 => slice::<bf16>(data).iter().all(|value| value.is_finite()),
        _ => data.iter::<f64>().all(f64::is_finite),
    }
}

fn slice<E: Element>(data: &TensorData) -> &[E] {
    data.as_slice().expect("the caller has matched the type")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_not_finite_are_found() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
                let finite =
                    |value| is_finite(&TensorData::from([0.0, value]).convert_dtype(dtype));
                assert!(finite(65_504.0) && !finite(bad), "{bad} {dtype:?}");
            }
        }
        // Too large for f16.
        let large = |dtype| TensorData::from([65_520f32]).convert_dtype(dtype);
        assert!(!is_finite(&large(DType::F16)) && is_finite(&large(DType::BF16)));
    }
}
