//! Files that are either written completely or left untouched.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls `write` with a temporary file in the folder of `path`, and renames that file to `path`
/// once it is on disk. This replaces an existing file. On any error an existing file stays
/// untouched and the temporary file is removed.
///
/// # Errors
///
/// - [`Error::Io`] with `path` if the file cannot be created, written or renamed.
/// - The errors of `write`.
pub(crate) fn write_whole<T>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T>,
) -> Result<T> {
    let (temporary, file) = TemporaryFile::next_to(path).map_err(Error::io(path))?;
    let mut out = BufWriter::new(file);
    let written = write(&mut out)?;
    let file = out
        .into_inner()
        .map_err(|error| Error::io(path)(error.into_error()))?;
    file.sync_all().map_err(Error::io(path))?;
    drop(file);
    std::fs::rename(&temporary.0, path).map_err(Error::io(path))?;
    Ok(written)
}

/// A file that is removed on drop unless it has been renamed by then.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    /// Creates a file in the folder of `path`.
    fn next_to(path: &Path) -> io::Result<(Self, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            // Not derived from the name of `path`, which may already have the maximum length.
            let name = format!(".gendr-pix-{}-{count}.tmp", std::process::id());
            let temporary = path.with_file_name(name);
            match File::create_new(&temporary) {
                Ok(file) => return Ok((Self(temporary), file)),
                // A killed process left it behind, or another machine writes to the same share.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // Fails after the rename, which is expected. Other failures cannot be reported from here.
        let _ = std::fs::remove_file(&self.0);
    }
}
