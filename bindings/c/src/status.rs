//! How a call reports failure: a status and a message.

use gendr_pix::Error;
use gendr_pix::error::ErrorKind;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The outcome of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GendrPixStatus {
    /// Success.
    Ok = 0,
    /// An argument is NULL or invalid.
    Argument = 1,
    /// An option is out of range.
    Option = 2,
    /// The picture cannot be used, or the output would be too large.
    Picture = 3,
    /// The weights cannot be read or used.
    Weights = 4,
    /// The library failed. This is a bug.
    Internal = 5,
    /// The program cancelled the call. There is nothing to fix.
    Cancelled = 6,
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    status: GendrPixStatus,
    message: String,
}

impl Failure {
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self {
            status: GendrPixStatus::Argument,
            message: message.into(),
        }
    }

    pub(crate) fn null(name: &str) -> Self {
        Self::argument(format!("`{name}` is NULL"))
    }

    /// The failure of loading a model.
    pub(crate) fn of_weights(error: Error) -> Self {
        Self {
            status: GendrPixStatus::Weights,
            message: error.to_string(),
        }
    }
}

impl From<Error> for Failure {
    /// The failure of enlarging a picture.
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Option => GendrPixStatus::Option,
            ErrorKind::Picture => GendrPixStatus::Picture,
            ErrorKind::Weights => GendrPixStatus::Weights,
            ErrorKind::Cancelled => GendrPixStatus::Cancelled,
            _ => GendrPixStatus::Internal,
        };
        Self {
            status,
            message: error.to_string(),
        }
    }
}

/// Runs `call`. Returns its failure or panic as a status and writes the message to `error` unless
/// that is null.
pub(crate) fn guard(
    error: *mut *mut c_char,
    call: impl FnOnce() -> Result<(), Failure>,
) -> GendrPixStatus {
    // Unwind safe: a call writes to memory that it does not own only in its last line.
    let result = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Failure {
            status: GendrPixStatus::Internal,
            message: format!("panicked: {}", text.unwrap_or_default()),
        })
    });
    let (status, message) = match result {
        Ok(()) => (GendrPixStatus::Ok, std::ptr::null_mut()),
        Err(Failure { status, message }) => {
            let message = CString::new(message.replace('\0', " ")).expect("has no zero byte");
            (status, message.into_raw())
        }
    };
    if !error.is_null() {
        // SAFETY: writable by the contract of every exported function. The old value may be
        // uninitialised and is not read.
        unsafe { error.write(message) };
    } else if !message.is_null() {
        // SAFETY: it comes from `into_raw` above.
        drop(unsafe { CString::from_raw(message) });
    }
    status
}

/// Frees a message that a call returned through `error`. Does nothing if `string` is NULL.
///
/// # Safety
///
/// `string` must be NULL or come from this library, and must not be used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gendr_pix_string_free(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: by the caller's promise it comes from `CString::into_raw`.
        drop(unsafe { CString::from_raw(string) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;
    use std::ptr::null_mut;

    #[test]
    fn a_panic_becomes_a_status() {
        let mut error = null_mut();
        let status = guard(&mut error, || panic!("at {}", 7));
        assert_eq!(status, GendrPixStatus::Internal);
        assert_eq!(
            unsafe { CStr::from_ptr(error) }.to_str(),
            Ok("panicked: at 7")
        );
        unsafe { gendr_pix_string_free(error) };
        assert_eq!(
            guard(null_mut(), || panic!("unheard")),
            GendrPixStatus::Internal
        );
    }

    #[test]
    fn success_clears_the_error() {
        let mut error = std::ptr::dangling_mut();
        assert_eq!(guard(&mut error, || Ok(())), GendrPixStatus::Ok);
        assert!(error.is_null());
    }
}
