//! The module's exceptions, and the conversion of the crate's errors to exceptions.

use gendr_pix::Error as Failure;
use gendr_pix::error::ErrorKind;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;

create_exception!(
    gendr_pix,
    Error,
    PyException,
    "Base class of this module's exceptions."
);
create_exception!(gendr_pix, OptionError, Error, "An option is out of range.");
create_exception!(
    gendr_pix,
    PictureError,
    Error,
    "The picture cannot be used, or the output would be too large."
);
create_exception!(
    gendr_pix,
    WeightsError,
    Error,
    "The weights cannot be read or used."
);

/// Converts an error of loading a model to an exception.
pub(crate) fn of_weights(error: Failure) -> PyErr {
    match error {
        // Python turns it into FileNotFoundError, PermissionError and so on, by the code.
        Failure::Io { path, source } if source.raw_os_error().is_some() => {
            PyOSError::new_err((source.raw_os_error(), source.to_string(), path))
        }
        other => WeightsError::new_err(other.to_string()),
    }
}

/// Converts an error of enlarging a picture to an exception.
pub(crate) fn of_picture(error: Failure) -> PyErr {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Option => OptionError::new_err(text),
        ErrorKind::Picture | ErrorKind::Format => PictureError::new_err(text),
        ErrorKind::Weights => WeightsError::new_err(text),
        _ => Error::new_err(text),
    }
}
