//! gendr-pix for C. `include/gendr_pix.h` is generated from this crate; see `README.md`.
//!
//! No call keeps state outside its arguments, and no panic crosses the boundary.

mod cancel;
mod options;
mod picture;
mod status;
mod version;

pub use cancel::{GendrPixCancel, gendr_pix_cancel, gendr_pix_cancel_free, gendr_pix_cancel_new};
pub use options::{GendrPixOptions, gendr_pix_options};
pub use picture::{GendrPixPicture, gendr_pix_picture_free};
pub use status::{GendrPixStatus, gendr_pix_string_free};
pub use version::{gendr_pix_version, gendr_pix_version_number};

use gendr_pix::{GenDrPix, backend};
use status::{Failure, guard};
use std::ffi::{CStr, c_char};

/// A model that is ready to run. Threads may share it.
pub struct GendrPixModel(GenDrPix<backend::Flex>);

/// Creates the bundled model, whose weights are part of this library.
///
/// On success `model` is set; free it with `gendr_pix_model_free`. `error` may be NULL. If it is
/// not, it is set to NULL on success, and to a message on failure; free the message with
/// `gendr_pix_string_free`. All functions that return a status treat `error` like this.
///
/// # Safety
///
/// `model` and `error` must be NULL or point to writable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gendr_pix_model_bundled(
    model: *mut *mut GendrPixModel,
    error: *mut *mut c_char,
) -> GendrPixStatus {
    guard(error, || {
        if model.is_null() {
            return Err(Failure::null("model"));
        }
        let loaded = GenDrPix::pretrained(&Default::default())?;
        // SAFETY: not null, and writable by the caller's promise; the old value is not read.
        unsafe { model.write(Box::into_raw(Box::new(GendrPixModel(loaded)))) };
        Ok(())
    })
}

/// Loads a bundle file, or a diffusers folder that contains `prompts.safetensors`. `path` is
/// UTF-8.
///
/// # Safety
///
/// As for `gendr_pix_model_bundled`. `path` must be NULL or a zero-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gendr_pix_model_load(
    path: *const c_char,
    model: *mut *mut GendrPixModel,
    error: *mut *mut c_char,
) -> GendrPixStatus {
    guard(error, || {
        if path.is_null() {
            return Err(Failure::null("path"));
        }
        // SAFETY: not null, and zero-terminated by the caller's promise.
        let path = unsafe { CStr::from_ptr(path) }.to_str();
        let path = path.map_err(|_| Failure::argument("`path` is not UTF-8"))?;
        if model.is_null() {
            return Err(Failure::null("model"));
        }
        let loaded = GenDrPix::load(path, &Default::default()).map_err(Failure::of_weights)?;
        // SAFETY: not null, and writable by the caller's promise; the old value is not read.
        unsafe { model.write(Box::into_raw(Box::new(GendrPixModel(loaded)))) };
        Ok(())
    })
}

/// Frees a model. Does nothing if `model` is NULL.
///
/// # Safety
///
/// `model` must be NULL or come from this library. No other thread may be using it, and it must
/// not be used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gendr_pix_model_free(model: *mut GendrPixModel) {
    if !model.is_null() {
        // SAFETY: by the caller's promise it comes from `Box::into_raw`.
        drop(unsafe { Box::from_raw(model) });
    }
}

/// Enlarges a picture into a new one with the same number of channels.
///
/// `options` may be NULL for the defaults. On success `output` is set; free its data with
/// `gendr_pix_picture_free`. On failure `output` is unchanged. `output` must not be `input`. The
/// data of `input` is only read.
///
/// If `options->cancel` is cancelled, the call stops at the latest after the operation that is
/// running, and returns `GENDR_PIX_STATUS_CANCELLED`. After the last operation it has no effect.
///
/// # Safety
///
/// `model` must be NULL or a model that has not been freed. `input->data` must point to
/// `width * height * channels` bytes. `options`, `output` and `error` must be NULL or point to
/// objects of their types, and `options->size` must be the value that `gendr_pix_options` set.
/// `options->progress` must be safe to call with `options->user` on this thread, and
/// `options->cancel` must be NULL or a token that is not freed before the call returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gendr_pix_upscale(
    model: *const GendrPixModel,
    input: *const GendrPixPicture,
    options: *const GendrPixOptions,
    output: *mut GendrPixPicture,
    error: *mut *mut c_char,
) -> GendrPixStatus {
    guard(error, || {
        // SAFETY: the caller's promises, for this line and the unsafe lines below.
        let model = unsafe { model.as_ref() }.ok_or(Failure::null("model"))?;
        let input = unsafe { input.as_ref() }.ok_or(Failure::null("input"))?;
        let image = unsafe { input.read() }?;
        let options = unsafe { GendrPixOptions::at(options) }?;
        if output.is_null() {
            return Err(Failure::null("output"));
        }
        let large = model.0.upscale_with(&image, &unsafe { options.read() }?)?;
        unsafe { output.write(GendrPixPicture::new(large)) };
        Ok(())
    })
}
