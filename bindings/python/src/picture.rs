//! Converts arrays to pictures and back.

use image::{DynamicImage, ImageBuffer};
use numpy::ndarray::{ArrayD, IxDyn};
use numpy::{IntoPyArray, PyReadonlyArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Returns the picture in an array of uint8, and the array's shape. `[H, W]` is grey; `[H, W, C]`
/// is grey, grey with alpha, RGB or RGBA for 1 to 4 channels. Returns `None` for anything but an
/// array of uint8. `check` receives width and height before anything is copied.
pub(crate) fn read(
    array: &Bound<'_, PyAny>,
    check: impl FnOnce(u32, u32) -> PyResult<()>,
) -> PyResult<Option<(DynamicImage, Vec<usize>)>> {
    let Ok(array) = array.extract::<PyReadonlyArrayDyn<u8>>() else {
        return Ok(None);
    };
    let array = array.as_array();
    let shape = array.shape().to_vec();
    let wrong = || PyValueError::new_err(format!("a picture of shape {shape:?}"));
    let (height, width, channels) = match shape[..] {
        [height, width] => (height, width, 1),
        [height, width, channels @ 1..=4] => (height, width, channels),
        _ => return Err(wrong()),
    };
    let (Ok(width), Ok(height)) = (u32::try_from(width), u32::try_from(height)) else {
        return Err(wrong());
    };
    check(width, height)?;
    // In row order, whatever the array's layout in memory.
    let bytes = array.iter().copied().collect();
    let image = match channels {
        1 => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageLuma8),
        2 => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageLumaA8),
        3 => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageRgb8),
        4 => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageRgba8),
        _ => None,
    };
    let image = image.ok_or_else(wrong)?;
    Ok(Some((image, shape)))
}

/// Returns the picture as an array with as many axes as `shape`.
pub(crate) fn write<'py>(
    py: Python<'py>,
    image: DynamicImage,
    mut shape: Vec<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    shape[0] = image.height() as usize;
    shape[1] = image.width() as usize;
    let array = ArrayD::from_shape_vec(IxDyn(&shape), image.into_bytes())
        .expect("a picture has as many bytes as its shape says");
    Ok(array.into_pyarray(py).into_any())
}
