//! Pictures as bytes, row by row, in and out.

use crate::status::Failure;
use image::{DynamicImage, ImageBuffer};

/// A picture with 8 bits per channel, sRGB-encoded. Rows run from top to bottom, pixels from left
/// to right, with interleaved channels and no gaps.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GendrPixPicture {
    /// `width * height * channels` bytes.
    pub data: *mut u8,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// 1: grey, 2: grey and alpha, 3: RGB, 4: RGBA. Alpha is straight (not premultiplied).
    pub channels: u32,
}

impl GendrPixPicture {
    /// Creates a picture that owns its data. [`gendr_pix_picture_free`] frees it.
    pub(crate) fn new(image: DynamicImage) -> Self {
        let (width, height) = (image.width(), image.height());
        let channels = u32::from(image.color().channel_count());
        let data = Box::into_raw(image.into_bytes().into_boxed_slice()).cast();
        Self {
            data,
            width,
            height,
            channels,
        }
    }

    /// Size of the data in bytes, or `None` if it exceeds `isize::MAX`.
    fn size(&self) -> Option<usize> {
        let sides = [self.height, self.channels].map(|n| n as usize);
        let bytes = sides
            .into_iter()
            .try_fold(self.width as usize, usize::checked_mul)?;
        (isize::try_from(bytes).is_ok()).then_some(bytes)
    }

    /// Copies the picture.
    ///
    /// # Safety
    ///
    /// `data` must be null or point to `width * height * channels` bytes.
    pub(crate) unsafe fn read(&self) -> Result<DynamicImage, Failure> {
        let &Self {
            data,
            width,
            height,
            channels,
        } = self;
        let too_large =
            || Failure::argument(format!("{width}x{height}x{channels} is not a picture"));
        let size = self.size().ok_or_else(too_large)?;
        let bytes = match size {
            0 => Vec::new(),
            _ if data.is_null() => return Err(Failure::null("input->data")),
            // SAFETY: not null, readable by the caller's promise, and at most `isize::MAX` bytes.
            _ => unsafe { std::slice::from_raw_parts(data, size) }.to_vec(),
        };
        let image = match channels {
            1 => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageLuma8),
            2 => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageLumaA8),
            3 => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageRgb8),
            4 => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageRgba8),
            _ => {
                let reason = format!("`input->channels` is {channels}, not 1, 2, 3 or 4");
                return Err(Failure::argument(reason));
            }
        };
        image.ok_or_else(too_large)
    }
}

/// Frees the data of a picture that `gendr_pix_upscale` made, and sets `data` to NULL. Does
/// nothing if `picture` is NULL.
///
/// # Safety
///
/// `picture` must be NULL or point to a picture whose data is NULL or comes from this library, with
/// its width, height and channels unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gendr_pix_picture_free(picture: *mut GendrPixPicture) {
    // SAFETY: the caller's promise.
    let Some(picture) = (unsafe { picture.as_mut() }) else {
        return;
    };
    if let Some(size) = picture.size().filter(|_| !picture.data.is_null()) {
        let data = std::ptr::slice_from_raw_parts_mut(picture.data, size);
        // SAFETY: by the caller's promise `new` made it from a box of the same size.
        drop(unsafe { Box::from_raw(data) });
        picture.data = std::ptr::null_mut();
    }
}
