//! The options of an enlargement.

use crate::status::Failure;
use gendr_pix::{Padding, Target, Tiling, Upscale};
use std::mem::offset_of;

/// Options of `gendr_pix_upscale`. Start from the defaults that `gendr_pix_options` sets.
///
/// Later versions of the library may add options at the end. `size` says which options existed
/// when the program was built; newer ones then have their defaults.
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
    /// Whether to run one padding instead of those that the model recommends. With the bundled model
    /// this is four times as fast and slightly worse. Default: false.
    pub fast: bool,
    /// Side of a tile in pixels of the output, rounded down to a multiple of 8. 0 enlarges the whole
    /// picture at once. Default: 0.
    pub tile: u32,
    /// Largest number of pixels of the output. Default: 2^27.
    pub max_output_pixels: u64,
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
            fast: false,
            tile: 0,
            max_output_pixels: 1 << 27,
        }
    }
}

impl GendrPixOptions {
    /// Size of the struct in the first version.
    const FIRST: usize = offset_of!(Self, max_output_pixels) + size_of::<u64>();

    /// Returns a copy of `*options`, or the defaults if `options` is null.
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
        if !(Self::FIRST..=size_of::<Self>()).contains(&size) {
            return Err(Failure::argument(format!(
                "`options->size` is {size}, which this version does not know: start from `gendr_pix_options`"
            )));
        }
        // SAFETY: as above. `size` bytes are readable, and `read` has room for them.
        unsafe {
            std::ptr::copy_nonoverlapping(options.cast::<u8>(), (&raw mut read).cast(), size)
        };
        Ok(read)
    }

    pub(crate) fn read(&self) -> Result<Upscale, Failure> {
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
        if self.fast {
            options = options.ensemble(vec![Padding::CENTRED]);
        }
        if self.tile > 0 {
            options = options.tiling(Tiling::with_side(self.tile as usize)?);
        }
        Ok(options)
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
        // SAFETY: `known` is at most `size`, which is writable by the caller's promise, and at most the
        // size of the defaults.
        unsafe {
            std::ptr::copy_nonoverlapping((&raw const defaults).cast::<u8>(), options.cast(), known)
        };
    }
}
