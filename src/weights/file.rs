//! One safetensors file, on disk or in memory: its header read once, its tensors on demand.

use super::{Source, Storage};
use crate::error::{Error, Result};
use memmap2::{Mmap, MmapOptions};
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

/// Bytes before a safetensors header: its length.
const LENGTH_BYTES: usize = 8;

/// A safetensors file with its header parsed.
pub(crate) struct File {
    /// The path, or `<memory>`.
    pub(crate) name: PathBuf,
    /// What the header says of itself.
    pub(crate) metadata: HashMap<String, String>,
    /// The tensors by key.
    pub(crate) tensors: BTreeMap<String, Entry>,
    content: Content,
}

/// Where and how a tensor lies in the file.
pub(crate) struct Entry {
    dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    range: Range<usize>,
}

enum Content {
    Disk(std::fs::File),
    Memory(&'static [u8]),
}

/// A tensor's bytes, mapped or in memory.
pub(crate) enum Bytes<'a> {
    Mapped(Mmap),
    Borrowed(&'a [u8]),
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Borrowed(bytes) => bytes,
        }
    }
}

impl File {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    ///
    /// - [`Error::Io`] when the file cannot be opened or mapped.
    /// - [`Error::Format`] when it is not safetensors, is cut short, or its header contradicts itself.
    pub(crate) fn open(source: Source) -> Result<Self> {
        match source {
            Source::Bytes(bytes) => {
                let name = PathBuf::from("<memory>");
                let (metadata, tensors) = header(&name, bytes)?;
                Ok(Self {
                    name,
                    metadata,
                    tensors,
                    content: Content::Memory(bytes),
                })
            }
            Source::File(name) => {
                let io = |source| Error::Io {
                    path: name.clone(),
                    source,
                };
                let file = std::fs::File::open(&name).map_err(io)?;
                let len = file.metadata().map_err(io)?.len();
                let len = usize::try_from(len).map_err(|_| Error::Format {
                    path: name.clone(),
                    reason: format!("{len} bytes are more than this machine can address"),
                })?;
                // Only the header's pages are touched here, and all are let go at the end of the block.
                let (metadata, tensors) = header(&name, &map(&file, 0..len).map_err(io)?)?;
                Ok(Self {
                    name,
                    metadata,
                    tensors,
                    content: Content::Disk(file),
                })
            }
        }
    }

    /// The bytes of a tensor and the type that they are stored in.
    ///
    /// A file on disk is mapped for this tensor alone: pages that have been read count as this process's memory for as
    /// long as they are mapped, and a whole model's would be half as much again as the model.
    ///
    /// # Errors
    ///
    /// - [`Error::Format`] when the tensor is absent or its type is not one of [`Storage`]'s.
    /// - [`Error::Io`] when the file cannot be mapped.
    pub(crate) fn read(&self, key: &str) -> Result<(Bytes<'_>, Storage)> {
        let entry = self
            .tensors
            .get(key)
            .ok_or_else(|| self.invalid(format!("has no tensor `{key}`")))?;
        let storage = self.storage(key, entry)?;
        let bytes = match &self.content {
            Content::Memory(bytes) => Bytes::Borrowed(&bytes[entry.range.clone()]),
            // The systems do not map nothing.
            Content::Disk(_) if entry.range.is_empty() => Bytes::Borrowed(&[]),
            Content::Disk(file) => {
                Bytes::Mapped(map(file, entry.range.clone()).map_err(|source| Error::Io {
                    path: self.name.clone(),
                    source,
                })?)
            }
        };
        Ok((bytes, storage))
    }

    /// The type that a tensor is stored in.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] when it is not one of [`Storage`]'s.
    pub(crate) fn storage(&self, key: &str, entry: &Entry) -> Result<Storage> {
        match entry.dtype {
            Dtype::F32 => Ok(Storage::F32),
            Dtype::F16 => Ok(Storage::F16),
            Dtype::BF16 => Ok(Storage::BF16),
            other => Err(self.invalid(format!(
                "tensor `{key}` is stored as {other:?}; F32, F16 and BF16 can be read"
            ))),
        }
    }

    /// An [`Error::Format`] of this file.
    pub(crate) fn invalid(&self, reason: String) -> Error {
        Error::Format {
            path: self.name.clone(),
            reason,
        }
    }
}

/// Maps a part of a file for reading.
fn map(file: &std::fs::File, range: Range<usize>) -> std::io::Result<Mmap> {
    let mut options = MmapOptions::new();
    options.offset(range.start as u64).len(range.len());
    // SAFETY: the map is read-only and lives for one conversion. A program that changes the file meanwhile can change
    // the values read, or end this process by cutting the file short: the common price of maps, which every reader of
    // safetensors files pays. No reference of ours assumes anything of the values.
    unsafe { options.map(file) }
}

type Header = (HashMap<String, String>, BTreeMap<String, Entry>);

/// Parses the header and checks that the tensors fill the rest of the file.
fn header(name: &Path, bytes: &[u8]) -> Result<Header> {
    let invalid = |reason| Error::Format {
        path: name.to_owned(),
        reason,
    };
    let (header_len, header) = SafeTensors::read_metadata(bytes).map_err(|error| {
        invalid(format!(
            "is not a whole safetensors file of {} bytes: {error}",
            bytes.len()
        ))
    })?;
    let start = LENGTH_BYTES + header_len;
    let tensors: BTreeMap<_, _> = header
        .tensors()
        .into_iter()
        .map(|(key, info)| {
            let (from, to) = info.data_offsets;
            let entry = Entry {
                dtype: info.dtype,
                shape: info.shape.clone(),
                range: start + from..start + to,
            };
            (key, entry)
        })
        .collect();
    Ok((header.metadata().clone().unwrap_or_default(), tensors))
}
