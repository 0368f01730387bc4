//! The exceptions.

use gendr_pix::Error as Failure;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;

create_exception!(gendr_pix, Error, PyException, "Why a call failed.");
create_exception!(gendr_pix, OptionError, Error, "An option is out of range.");
create_exception!(
    gendr_pix,
    PictureError,
    Error,
    "A picture cannot be used, or the output would be too large."
);
create_exception!(
    gendr_pix,
    WeightsError,
    Error,
    "Weights cannot be understood or used."
);

/// Of a model that was being loaded.
pub(crate) fn of_weights(error: Failure) -> PyErr {
    match error {
        // Python makes it a FileNotFoundError, a PermissionError or whatever fits the code.
        Failure::Io { path, source } if source.raw_os_error().is_some() => {
            PyOSError::new_err((source.raw_os_error(), source.to_string(), path))
        }
        other => WeightsError::new_err(other.to_string()),
    }
}

/// Of a picture that was being enlarged.
pub(crate) fn of_picture(error: Failure) -> PyErr {
    let text = error.to_string();
    match error {
        Failure::Option { .. } => OptionError::new_err(text),
        Failure::EmptyPicture { .. }
        | Failure::OutputTooLarge { .. }
        | Failure::InputTooLarge { .. }
        | Failure::NonFinitePicture
        | Failure::Format { .. } => PictureError::new_err(text),
        Failure::NonFiniteOutput | Failure::ConstantOutput => WeightsError::new_err(text),
        _ => Error::new_err(text),
    }
}
