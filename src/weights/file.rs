//! One safetensors file, on disk or in memory: its header read once, its tensors on demand.

use super::{Source, invalid, io};
use crate::error::{Error, Result};
use burn::tensor::{DType, TensorData};
use memmap2::MmapOptions;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::ops::Range;
use std::path::PathBuf;

/// Bytes before a safetensors header: its length.
const LENGTH_BYTES: u64 = 8;
/// Longest header taken, as in the safetensors crate.
const MAX_HEADER: u64 = 100_000_000;

/// A safetensors file with its header parsed.
pub(crate) struct File {
    /// The path, or `<memory>`.
    pub(crate) name: PathBuf,
    header: Metadata,
    /// Where the tensors begin.
    start: u64,
    content: Content,
}

enum Content {
    Bytes(&'static [u8]),
    File(std::fs::File),
}

impl Content {
    fn len(&self) -> std::io::Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File(file) => Ok(file.metadata()?.len()),
        }
    }

    /// A copy of `range`, which must lie within the content.
    ///
    /// A file is mapped for no longer than the copy takes: the pages of a whole mapped file would count as memory of
    /// this process beside the weights made from it.
    fn read(&self, range: Range<u64>) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes[range.start as usize..range.end as usize].to_vec()),
            Self::File(_) if range.is_empty() => Ok(Vec::new()),
            Self::File(file) => {
                let mut options = MmapOptions::new();
                options
                    .offset(range.start)
                    .len((range.end - range.start) as usize);
                // SAFETY: the map is only read, and copied from at once. A program that cuts the file short in that
                // moment ends this process: the price of maps, which all readers of mapped weights pay.
                Ok(unsafe { options.map(file) }?.to_vec())
            }
        }
    }
}

impl File {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    ///
    /// - [`Error::Io`] when the file cannot be opened or read.
    /// - [`Error::Format`] when it is not safetensors, is cut short, or its header contradicts itself.
    pub(crate) fn open(source: Source) -> Result<Self> {
        let (name, content) = match source {
            Source::Bytes(bytes) => ("<memory>".into(), Content::Bytes(bytes)),
            Source::File(path) => {
                let file = std::fs::File::open(&path).map_err(io(&path))?;
                (path, Content::File(file))
            }
        };
        let io = io(&name);
        let len = content.len().map_err(io)?;
        let invalid = |reason: String| -> Error {
            let reason = format!("is not a whole safetensors file of {len} bytes: {reason}");
            invalid(&name, reason)
        };
        let after_length = len
            .checked_sub(LENGTH_BYTES)
            .ok_or_else(|| invalid("it has no header".into()))?;
        let length = content.read(0..LENGTH_BYTES).map_err(io)?;
        let header_len = u64::from_le_bytes(length.try_into().expect("eight bytes were read"));
        if header_len > after_length.min(MAX_HEADER) {
            return Err(invalid(format!("its header has {header_len} bytes")));
        }
        let header = LENGTH_BYTES..LENGTH_BYTES + header_len;
        let header = content.read(header).map_err(io)?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|error| invalid(error.to_string()))?;
        if header.data_len() as u64 != after_length - header_len {
            return Err(invalid("its tensors have another size".into()));
        }
        Ok(Self {
            name,
            header,
            start: LENGTH_BYTES + header_len,
            content,
        })
    }

    /// What the header says of the file itself.
    pub(crate) fn metadata(&self, key: &str) -> Option<&String> {
        self.header.metadata().as_ref()?.get(key)
    }

    /// The tensors' keys, in the order of the file.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// A tensor's type, shape and place.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] when the tensor is absent.
    pub(crate) fn info(&self, key: &str) -> Result<&TensorInfo> {
        let missing = || invalid(&self.name, format!("has no tensor `{key}`"));
        self.header.info(key).ok_or_else(missing)
    }

    /// The type that a tensor is stored in.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] when the tensor is absent, or the type is not one of [`Storage`](super::Storage)'s.
    pub(crate) fn dtype(&self, key: &str) -> Result<DType> {
        match self.info(key)?.dtype {
            Dtype::F32 => Ok(DType::F32),
            Dtype::F16 => Ok(DType::F16),
            Dtype::BF16 => Ok(DType::BF16),
            other => Err(invalid(
                &self.name,
                format!("tensor `{key}` is stored as {other:?}; F32, F16 and BF16 can be read"),
            )),
        }
    }

    /// A tensor's values in the type that they are stored in.
    ///
    /// # Errors
    ///
    /// - [`Error::Format`] as of [`dtype`](Self::dtype).
    /// - [`Error::Io`] when the file cannot be read.
    pub(crate) fn read(&self, key: &str) -> Result<TensorData> {
        let dtype = self.dtype(key)?;
        let info = self.info(key)?;
        let (from, to) = info.data_offsets;
        let range = self.start + from as u64..self.start + to as u64;
        let bytes = self.content.read(range).map_err(io(&self.name))?;
        Ok(TensorData::from_bytes_vec(bytes, info.shape.clone(), dtype))
    }
}
