//! Files that are written whole or not at all.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Has `write` write a file beside `path`, and gives it that name when all is on disk. A file at `path` is replaced then,
/// and untouched on any error; nothing else is left behind.
///
/// # Errors
///
/// [`Error::Io`] with `path` when the file cannot be created, written or renamed, and those of `write`.
pub(crate) fn write_whole<T>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T>,
) -> Result<T> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let (temporary, file) = Temporary::beside(path).map_err(io)?;
    let mut out = BufWriter::new(file);
    let written = write(&mut out)?;
    let file = out.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    drop(file);
    std::fs::rename(&temporary.0, path).map_err(io)?;
    Ok(written)
}

/// A file next to the one to be written, removed when dropped unless renamed by then.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> io::Result<(Self, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            // Not made from the file's own name, which may be as long as names can be.
            let name = format!(".gendr-pix-{}-{count}.tmp", std::process::id());
            let temporary = path.with_file_name(name);
            match File::create_new(&temporary) {
                Ok(file) => return Ok((Self(temporary), file)),
                // Left by a process that was killed, or of another machine on the same share.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already after the rename, and there is nobody to tell otherwise.
        let _ = std::fs::remove_file(&self.0);
    }
}
