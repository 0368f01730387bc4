//! The tensors of one file or of several shards under one roof, checked against what a model needs.

use super::file::File;
use super::{Source, invalid};
use crate::error::{Error, Result};
use burn::tensor::{DType, Element, TensorData};
use half::{bf16, f16};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Tensors of one or more files.
pub(crate) struct Checkpoint {
    /// Names all files together in errors.
    name: PathBuf,
    files: Vec<File>,
    places: BTreeMap<String, Place>,
}

/// Where the tensor of a key is.
#[derive(Clone)]
struct Place {
    file: usize,
    /// Its key in the file.
    key: String,
}

/// A tensor that a model needs.
pub(crate) struct Wanted {
    pub(crate) key: String,
    /// Length of each dimension; `None` is any from one.
    pub(crate) shape: Vec<Option<usize>>,
}

impl Wanted {
    fn fits(&self, found: &[usize]) -> bool {
        let fits = |(expected, &found): (&Option<_>, _)| {
            expected.map_or(found > 0, |length| length == found)
        };
        self.shape.len() == found.len() && self.shape.iter().zip(found).all(fits)
    }

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
    /// # Errors
    ///
    /// [`Error::Format`] when two files hold a tensor of the same key.
    pub(crate) fn new(name: PathBuf, files: Vec<File>) -> Result<Self> {
        let mut places = BTreeMap::new();
        for (i, file) in files.iter().enumerate() {
            for key in file.keys() {
                let place = Place {
                    file: i,
                    key: key.clone(),
                };
                if let Some(other) = places.insert(key.clone(), place) {
                    let other = files[other.file].name.display();
                    let reason = format!("tensor `{key}` is also in {other}");
                    return Err(invalid(&file.name, reason));
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
    ///
    /// # Errors
    ///
    /// Those of [`File::open`].
    pub(crate) fn open(source: Source) -> Result<Self> {
        let file = File::open(source)?;
        Self::new(file.name.clone(), vec![file])
    }

    /// Forgets those tensors of `keys` that are there: what a model does not need and may be given all the same.
    #[cfg(feature = "train")]
    pub(crate) fn set_aside<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) {
        for key in keys {
            self.places.remove(key);
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
                    let found = &self.files[place.file].info(&place.key)?.shape;
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
        for place in self.places.values() {
            self.files[place.file].dtype(&place.key)?;
        }
        Ok(())
    }

    /// The same tensors under other keys.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] when two tensors would have one key.
    #[cfg(feature = "latent")]
    pub(crate) fn renamed(self, rename: impl Fn(&str) -> String) -> Result<Self> {
        let mut places = BTreeMap::new();
        for (key, place) in self.places {
            if let Some(other) = places.insert(rename(&key), place) {
                let reason = format!("tensors `{}` and `{key}` are one", other.key);
                return Err(invalid(&self.name, reason));
            }
        }
        Ok(Self { places, ..self })
    }

    /// A tensor's values in the precision `dtype`.
    ///
    /// # Errors
    ///
    /// - [`Error::NonFiniteWeight`] when a value is not finite, or not after rounding to `dtype`.
    /// - [`Error::Format`] and [`Error::Io`] as of [`File::read`].
    pub(crate) fn read(&self, key: &str, dtype: DType) -> Result<TensorData> {
        let Some(place) = self.places.get(key) else {
            return Err(invalid(&self.name, format!("has no tensor `{key}`")));
        };
        let file = &self.files[place.file];
        let data = file.read(&place.key)?.convert_dtype(dtype);
        if !is_finite(&data) {
            return Err(Error::NonFiniteWeight {
                path: file.name.clone(),
                key: key.to_owned(),
            });
        }
        Ok(data)
    }
}

/// Whether all values are finite; a value that is not stays so in any conversion.
pub(crate) fn is_finite(data: &TensorData) -> bool {
    // An iterator over any type takes a call a value: the usual types are for speed.
    match data.dtype {
        DType::F32 => slice::<f32>(data).iter().all(|value| value.is_finite()),
        DType::F16 => slice::<f16>(data).iter().all(|value| value.is_finite()),
        DType::BF16 => slice::<bf16>(data).iter().all(|value| value.is_finite()),
        _ => data.iter::<f64>().all(f64::is_finite),
    }
}

fn slice<E: Element>(data: &TensorData) -> &[E] {
    data.as_slice().expect("the type was looked at")
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
        // Too large for half precision.
        let large = |dtype| TensorData::from([65_520f32]).convert_dtype(dtype);
        assert!(!is_finite(&large(DType::F16)) && is_finite(&large(DType::BF16)));
    }
}
