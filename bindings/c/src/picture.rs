//! Pictures in and out: bytes, row after row.

use crate::status::Failure;
use image::{DynamicImage, ImageBuffer};

/// A picture of 8 bits a channel, sRGB-encoded: row after row from the top, pixels from left to right, their channels side by
/// side, without gaps.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GendrPixPicture {
    /// `width * height * channels` bytes.
    pub data: *mut u8,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// 1: grey, 2: grey and alpha, 3: RGB, 4: RGBA (alpha is not multiplied in).
    pub channels: u32,
}

impl GendrPixPicture {
    /// A picture that owns its data, to be freed by [`gendr_pix_picture_free`].
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

    /// Bytes of the data, where they can be counted.
    fn size(&self) -> Option<usize> {
        let sides = [self.height, self.channels].map(|n| n as usize);
        let bytes = sides
            .into_iter()
            .try_fold(self.width as usize, usize::checked_mul)?;
        (isize::try_from(bytes).is_ok()).then_some(bytes)
    }

    /// A copy of the picture.
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
            // SAFETY: the caller's promise; not null, and no more bytes than a slice may have.
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

/// Frees the data of a picture that `gendr_pix_upscale` made, and sets it to NULL; NULL is let pass.
///
/// # Safety
///
/// `picture` must be NULL or point to a picture whose data is NULL or comes from this library, with the size that it came
/// with.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gendr_pix_picture_free(picture: *mut GendrPixPicture) {
    // SAFETY: the caller's promise.
    let Some(picture) = (unsafe { picture.as_mut() }) else {
        return;
    };
    if let Some(size) = picture.size().filter(|_| !picture.data.is_null()) {
        let data = std::ptr::slice_from_raw_parts_mut(picture.data, size);
        // SAFETY: made by `new` from a box of as many bytes, by the caller's promise.
        drop(unsafe { Box::from_raw(data) });
        picture.data = std::ptr::null_mut();
    }
}
