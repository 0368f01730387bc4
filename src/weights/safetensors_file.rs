//! One safetensors file on disk or in memory. Its header is read once, its tensors on demand.

use super::WeightsSource;
use crate::error::{Error, Result};
use burn::tensor::{DType, TensorData};
use memmap2::MmapOptions;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;

/// Size of the length field before a safetensors header.
const LENGTH_BYTES: u64 = 8;
/// Maximum length of a header, as in the safetensors crate.
const MAX_HEADER: u64 = 100_000_000;

/// A safetensors file with a parsed header.
pub(crate) struct SafetensorsFile {
    /// The path, or `<memory>`.
    pub(crate) name: PathBuf,
    header: Metadata,
    /// Offset of the first tensor.
    start: u64,
    content: Content,
}

enum Content {
    Bytes(Cow<'static, [u8]>),
    File(File),
}

impl Content {
    fn len(&self) -> std::io::Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File(file) => Ok(file.metadata()?.len()),
        }
    }

    /// Copies `range`, which must lie within the content.
    ///
    /// A file is mapped only while it is copied. The pages of a file that stays mapped would count
    /// as memory of this process, in addition to the weights.
    fn read(&self, range: Range<u64>) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes[range.start as usize..range.end as usize].to_vec()),
            Self::File(_) if range.is_empty() => Ok(Vec::new()),
            Self::File(file) => {
                let mut options = MmapOptions::new();
                options
                    .offset(range.start)
                    .len((range.end - range.start) as usize);
                // SAFETY: the map is only read, and dropped after the copy. If another program
                // truncates the file during the copy, this process is killed; that applies to every
                // reader of mapped weights.
                Ok(unsafe { options.map(file) }?.to_vec())
            }
        }
    }
}

impl SafetensorsFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    ///
    /// - [`Error::Io`] if the file cannot be opened or read.
    /// - [`Error::Format`] if it is not a safetensors file, is truncated, or has an inconsistent
    ///   header.
    pub(crate) fn open(source: WeightsSource) -> Result<Self> {
        let (name, content) = match source {
            WeightsSource::Bytes(bytes) => ("<memory>".into(), Content::Bytes(bytes)),
            WeightsSource::File(path) => {
                let file = File::open(&path).map_err(Error::io(&path))?;
                (path, Content::File(file))
            }
        };
        let len = content.len().map_err(Error::io(&name))?;
        let invalid = |reason: String| -> Error {
            Error::format(
                &name,
                format!("is not a complete safetensors file of {len} bytes: {reason}"),
            )
        };
        let after_length = len
            .checked_sub(LENGTH_BYTES)
            .ok_or_else(|| invalid("it has no header".into()))?;
        let length = content.read(0..LENGTH_BYTES).map_err(Error::io(&name))?;
        let header_len = u64::from_le_bytes(length.try_into().expect("eight bytes were read"));
        if header_len > after_length.min(MAX_HEADER) {
            return Err(invalid(format!("its header claims {header_len} bytes")));
        }
        let header = LENGTH_BYTES..LENGTH_BYTES + header_len;
        let header = content.read(header).map_err(Error::io(&name))?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|error| invalid(error.to_string()))?;
        if header.data_len() as u64 != after_length - header_len {
            return Err(invalid(
                "the size of its tensors does not match the header".into(),
            ));
        }
        Ok(Self {
            name,
            header,
            start: LENGTH_BYTES + header_len,
            content,
        })
    }

    /// Returns the value of `key` in the metadata of the header.
    pub(crate) fn metadata(&self, key: &str) -> Option<&String> {
        self.header.metadata().as_ref()?.get(key)
    }

    /// Returns the keys of the tensors, in the order of the file.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Returns the type, shape and offsets of a tensor.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] if the tensor is missing.
    pub(crate) fn info(&self, key: &str) -> Result<&TensorInfo> {
        let missing = || Error::format(&self.name, format!("has no tensor `{key}`"));
        self.header.info(key).ok_or_else(missing)
    }

    /// Returns the type in which a tensor is stored.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] if the tensor is missing, or its type is not one of
    /// [`Storage`](super::Storage).
    pub(crate) fn dtype(&self, key: &str) -> Result<DType> {
        match self.info(key)?.dtype {
            Dtype::F32 => Ok(DType::F32),
            Dtype::F16 => Ok(DType::F16),
            Dtype::BF16 => Ok(DType::BF16),
            other => Err(Error::format(
                &self.name,
                format!(
                    "tensor `{key}` is stored as {other:?}; only F32, F16 and BF16 are supported"
                ),
            )),
        }
    }

    /// Reads the values of a tensor in the type in which they are stored.
    ///
    /// # Errors
    ///
    /// - [`Error::Format`] as in [`dtype`](Self::dtype).
    /// - [`Error::Io`] if the file cannot be read.
    pub(crate) fn read(&self, key: &str) -> Result<TensorData> {
        let dtype = self.dtype(key)?;
        let info = self.info(key)?;
        let (from, to) = info.data_offsets;
        let range = self.start + from as u64..self.start + to as u64;
        let bytes = self.content.read(range).map_err(Error::io(&self.name))?;
        Ok(TensorData::from_bytes_vec(bytes, info.shape.clone(), dtype))
    }
}
