//! The options of an enlargement.
//!
//! A later version appends its fields at the end. The default of each must be zero, so that a program
//! that leaves them alone also runs with this version.

use crate::cancel::GendrPixCancel;
use crate::status::Failure;
use gendr_pix::{Padding, Target, Tiling, Upscale};
use std::ffi::c_void;
use std::mem::offset_of;

/// Options of `gendr_pix_upscale`. Start from the defaults that `gendr_pix_options` sets.
///
/// Later versions of the library may add options at the end. `size` says which options existed
/// when the program was built. The library gives the defaults to options that the program does not
/// have. If the program has options that the library does not have, they must be zero, which is
/// their default; otherwise the call fails with `GENDR_PIX_STATUS_ARGUMENT`. It also fails if `size`
/// is smaller than the struct of the first version, or larger than 4096.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GendrPixOptions {
    /// `sizeof(GendrPixOptions)`, set by `gendr_pix_options`.
    pub size: usize,
    /// Output side divided by input side, 1 or more. Used if `width` and `height` are 0. Default: 4.
    pub scale: f64,
    /// Width of the output in pixels, or 0. If only one of `width` and `height` is set, the other
    /// keeps the aspect ratio. Default: 0.
    pub width: u32,
    /// Height of the output in pixels, or 0. See `width`. Default: 0.
    pub height: u32,
    /// Guidance scale: 1 runs one pass; more sharpens by a second pass. Default: NaN, the model's
    /// recommendation.
    pub guidance: f64,
    /// How far the picture may move from the input: 0 is the plain resize, 1 is the model.
    /// Default: 1.
    pub fidelity: f64,
    /// A value other than 0 runs one padding instead of those that the model recommends. With the
    /// bundled model this is four times as fast and slightly worse. Default: 0.
    pub fast: u8,
    /// Side of a tile in pixels of the output, rounded down to a multiple of 8. 0 enlarges the whole
    /// picture at once. Default: 0.
    pub tile: u32,
    /// Largest number of pixels of the output. Default: 2^27.
    pub max_output_pixels: u64,
    /// Called with the finished share of the work and `user`, many times during a call. The share is
    /// above 0, never decreases, and is 1 at the end of a call that succeeds. NULL: no call.
    /// Default: NULL.
    ///
    /// The function runs on the thread that called `gendr_pix_upscale`, and the work waits until it
    /// returns. It must return normally: neither a C++ exception nor `longjmp` may leave it.
    pub progress: Option<unsafe extern "C" fn(fraction: f64, user: *mut c_void)>,
    /// Passed to `progress`. The library does not use it. Default: NULL.
    pub user: *mut c_void,
    /// A token from `gendr_pix_cancel_new` that stops the call, or NULL. It must not be freed before
    /// the call returns. Default: NULL.
    pub cancel: *const GendrPixCancel,
}

impl Default for GendrPixOptions {
    fn default() -> Self {
        Self {
            size: size_of::<Self>(),
            scale: 4.0,
            width: 0,
            height: 0,
            guidance: f64::NAN,
            fidelity: 1.0,
            fast: 0,
            tile: 0,
            max_output_pixels: 1 << 27,
            progress: None,
            user: std::ptr::null_mut(),
            cancel: std::ptr::null(),
        }
    }
}

impl GendrPixOptions {
    /// Where the fields of the first version end, and where each field that was added later ends. A
    /// part of a field is never read.
    const ENDS: [usize; 4] = [
        offset_of!(Self, max_output_pixels) + size_of::<u64>(),
        offset_of!(Self, progress) + size_of::<*const c_void>(),
        offset_of!(Self, user) + size_of::<*const c_void>(),
        offset_of!(Self, cancel) + size_of::<*const c_void>(),
    ];

    /// Largest size that is accepted. A larger one is memory that was never set.
    const LARGEST: usize = 4096;

    /// Returns a copy of `*options` with the defaults for the fields that it lacks, or all defaults if
    /// `options` is null.
    ///
    /// # Safety
    ///
    /// `options` must be null or point to `options->size` readable bytes.
    pub(crate) unsafe fn at(options: *const Self) -> Result<Self, Failure> {
        let mut read = Self::default();
        if options.is_null() {
            return Ok(read);
        }
        // SAFETY: not null, and readable by the caller's promise; `size` is the first field.
        let size = unsafe { options.cast::<usize>().read() };
        let [first, ..] = Self::ENDS;
        let known = Self::ENDS.into_iter().rfind(|&end| end <= size);
        let Some(known) = known.filter(|_| size <= Self::LARGEST) else {
            return Err(Failure::argument(format!(
                "`options->size` is {size}, not from {first} to {}: start from `gendr_pix_options`",
                Self::LARGEST
            )));
        };
        // SAFETY: `size` bytes are readable by the caller's promise. `known` is at most `size`, and at
        // most the size of `read`.
        unsafe {
            std::ptr::copy_nonoverlapping(options.cast::<u8>(), (&raw mut read).cast(), known);
        }
        for at in size_of::<Self>()..size {
            // SAFETY: `at` is less than `size`, as above.
            if unsafe { options.cast::<u8>().add(at).read() } != 0 {
                return Err(Failure::argument(format!(
                    "`options` sets an option at byte {at} that version {} of the library does not have: leave it at its default or use a newer library",
                    env!("CARGO_PKG_VERSION")
                )));
            }
        }
        Ok(read)
    }

    /// Returns the options as those of the crate.
    ///
    /// # Safety
    ///
    /// `cancel` must be null or a token that has not been freed. `progress` must be safe to call with
    /// `user` on the thread that enlarges the picture, for as long as the result is in use.
    pub(crate) unsafe fn read(&self) -> Result<Upscale, Failure> {
        let target = match (self.width, self.height) {
            (0, 0) => Target::Scale(self.scale),
            (width, 0) => Target::Width(width),
            (0, height) => Target::Height(height),
            (width, height) => Target::Size(width, height),
        };
        let mut options = Upscale::new()
            .target(target)
            .fidelity(self.fidelity)
            .max_output_pixels(self.max_output_pixels);
        if !self.guidance.is_nan() {
            options = options.guidance(self.guidance);
        }
        if self.fast != 0 {
            options = options.ensemble(vec![Padding::CENTRED]);
        }
        if self.tile > 0 {
            options = options.tiling(Tiling::with_side(self.tile as usize)?);
        }
        if let Some(function) = self.progress {
            let user = self.user;
            let callback = Callback { function, user };
            // SAFETY: the caller's promise.
            options =
                options.on_progress(move |progress| unsafe { callback.call(progress.fraction) });
        }
        // SAFETY: the caller's promise.
        if let Some(cancel) = unsafe { self.cancel.as_ref() } {
            options = options.cancel(cancel.0.clone());
        }
        Ok(options)
    }
}

/// A progress callback and its pointer.
struct Callback {
    function: unsafe extern "C" fn(f64, *mut c_void),
    user: *mut c_void,
}

// SAFETY: the pointer is only passed on, by `call`, which has its own contract.
unsafe impl Send for Callback {}
// SAFETY: as above.
unsafe impl Sync for Callback {}

impl Callback {
    /// # Safety
    ///
    /// The function must be safe to call with the pointer on this thread.
    unsafe fn call(&self, fraction: f64) {
        // SAFETY: the caller's promise.
        unsafe { (self.function)(fraction, self.user) }
    }
}

/// Sets `options` to the defaults. `size` is `sizeof(GendrPixOptions)`. Does nothing if `options`
/// is NULL.
///
/// # Safety
///
/// `options` must be NULL or point to `size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gendr_pix_options(options: *mut GendrPixOptions, size: usize) {
    let defaults = GendrPixOptions {
        size,
        ..Default::default()
    };
    if !options.is_null() {
        let known = size.min(size_of::<GendrPixOptions>());
        let options = options.cast::<u8>();
        // SAFETY: `size` bytes are writable by the caller's promise. `known` is at most `size`, and at
        // most the size of the defaults. The default of an option that this version lacks is zero.
        unsafe {
            std::ptr::copy_nonoverlapping((&raw const defaults).cast(), options, known);
            options.add(known).write_bytes(0, size - known);
        }
    }
}
