//! gendr-pix for C: see `include/gendr_pix.h`, which is generated from this crate, and `README.md`.
//!
//! No call keeps state outside its arguments, and none lets a panic out.

mod options;
mod picture;
mod status;

pub use options::{GendrPixOptions, gendr_pix_options};
pub use picture::{GendrPixPicture, gendr_pix_picture_free};
pub use status::{GendrPixStatus, gendr_pix_string_free};

use gendr_pix::{GenDrPix, backend};
use status::{Failure, guard};
use std::ffi::{CStr, c_char};

/// A model, ready to run. Threads may share it.
pub struct GendrPixModel(GenDrPix<backend::Flex>);

/// Makes the model whose weights are in this library.
///
/// `model` is set on success, and to be freed by `gendr_pix_model_free`. `error` may be NULL; else it is set to NULL
/// on success and to what went wrong otherwise, to be freed by `gendr_pix_string_free`. So it is with all functions
/// that return a status.
///
/// # Safety
///
/// `model` and `error` must be NULL or point to memory that can be written.
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
        // SAFETY: the caller's promise; it is not null, and what is there is not read.
        unsafe { model.write(Box::into_raw(Box::new(GendrPixModel(loaded)))) };
        Ok(())
    })
}

/// Loads a bundle file, or a diffusers folder with `prompts.safetensors` in it. `path` is UTF-8.
///
/// # Safety
///
/// As of `gendr_pix_model_bundled`; `path` must be NULL or a string that ends in a zero byte.
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
        // SAFETY: the caller's promise; it is not null.
        let path = unsafe { CStr::from_ptr(path) }.to_str();
        let path = path.map_err(|_| Failure::argument("`path` is not UTF-8"))?;
        if model.is_null() {
            return Err(Failure::null("model"));
        }
        let loaded = GenDrPix::load(path, &Default::default()).map_err(Failure::of_weights)?;
        // SAFETY: the caller's promise; it is not null, and what is there is not read.
        unsafe { model.write(Box::into_raw(Box::new(GendrPixModel(loaded)))) };
        Ok(())
    })
}

/// Frees a model; NULL is let pass.
///
/// # Safety
///
/// `model` must be NULL or come from this library, be in use by no other thread, and not be used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gendr_pix_model_free(model: *mut GendrPixModel) {
    if !model.is_null() {
        // SAFETY: made by `Box::into_raw`, by the caller's promise.
        drop(unsafe { Box::from_raw(model) });
    }
}

/// Enlarges a picture into a new one with as many channels.
///
/// `options` may be NULL for the defaults. `output` is set on success, and its data to be freed by
/// `gendr_pix_picture_free`. It may not be `input`, whose data is only read.
///
/// # Safety
///
/// `model` must be NULL or a model that was not freed; `input->data` must point to `width * height * channels` bytes;
/// `options`, `output` and `error` must be NULL or point to such objects, and `options->size` must be as `gendr_pix_options` set
/// it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gendr_pix_upscale(
    model: *const GendrPixModel,
    input: *const GendrPixPicture,
    options: *const GendrPixOptions,
    output: *mut GendrPixPicture,
    error: *mut *mut c_char,
) -> GendrPixStatus {
    guard(error, || {
        // SAFETY: the caller's promises, for this line and those below.
        let model = unsafe { model.as_ref() }.ok_or(Failure::null("model"))?;
        let input = unsafe { input.as_ref() }.ok_or(Failure::null("input"))?;
        let image = unsafe { input.read() }?;
        let options = unsafe { GendrPixOptions::at(options) }?;
        if output.is_null() {
            return Err(Failure::null("output"));
        }
        let large = model.0.upscale_with(&image, &options.read()?)?;
        unsafe { output.write(GendrPixPicture::new(large)) };
        Ok(())
    })
}
