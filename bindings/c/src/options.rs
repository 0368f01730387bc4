//! What a caller can ask of an enlargement.

use crate::status::Failure;
use gendr_pix::{Padding, Target, Tiling, Upscale};
use std::mem::offset_of;

/// Options of `gendr_pix_upscale`. Start from the defaults, by `gendr_pix_options`.
///
/// Later versions of the library may know more, at the end: `size` tells which there were when the program was built, and
/// the others have their defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GendrPixOptions {
    /// `sizeof(GendrPixOptions)`, set by `gendr_pix_options`.
    pub size: usize,
    /// Output sides over input sides, from 1 up, where `width` and `height` are 0. Default: 4.
    pub scale: f64,
    /// Width of the output in pixels; where `height` is 0, that follows. Default: 0, unset.
    pub width: u32,
    /// Height of the output in pixels; where `width` is 0, that follows. Default: 0, unset.
    pub height: u32,
    /// 1 runs one pass, more sharpens by a second pass. Default: NaN, the model's recommendation.
    pub guidance: f64,
    /// How far the picture may move from the input: 0 is the plain resize, 1 the model. Default: 1.
    pub fidelity: f64,
    /// Whether to run one padding rather than those that the model recommends: four times as fast with the bundled
    /// model, and a little worse. Default: false.
    pub fast: bool,
    /// Sides of tiles in pixels of the output, rounded down to a multiple of 8; 0 is the whole picture at once. Default: 0.
    pub tile: u32,
    /// Most pixels of the output. Default: 2^27.
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
    /// Where the options of the first version end.
    const FIRST: usize = offset_of!(Self, max_output_pixels) + size_of::<u64>();

    /// The options at `options`; the defaults for null.
    ///
    /// # Safety
    ///
    /// `options` must be null or point to `options->size` bytes of them.
    pub(crate) unsafe fn at(options: *const Self) -> Result<Self, Failure> {
        let mut read = Self::default();
        if options.is_null() {
            return Ok(read);
        }
        // SAFETY: the caller's promise; it is not null, and the size comes first.
        let size = unsafe { options.cast::<usize>().read() };
        if !(Self::FIRST..=size_of::<Self>()).contains(&size) {
            return Err(Failure::argument(format!(
                "`options->size` is {size}, which this version does not know: start from `gendr_pix_options`"
            )));
        }
        // SAFETY: as above; as many bytes as there are, and no more than there is room for.
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

/// Sets `options` to the defaults. `size` is `sizeof(GendrPixOptions)`; NULL is let pass.
///
/// # Safety
///
/// `options` must be NULL or point to `size` bytes that can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gendr_pix_options(options: *mut GendrPixOptions, size: usize) {
    let defaults = GendrPixOptions {
        size,
        ..Default::default()
    };
    if !options.is_null() {
        let known = size.min(size_of::<GendrPixOptions>());
        // SAFETY: the caller's promise; no more bytes than there is room for, nor than there are.
        unsafe {
            std::ptr::copy_nonoverlapping((&raw const defaults).cast::<u8>(), options.cast(), known)
        };
    }
}
