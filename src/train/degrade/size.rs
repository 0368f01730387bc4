//! The size of a degraded picture.

use crate::pixels::planes::Planes;

/// Returns width and height of `high` divided by `scale`, rounded, at least one pixel.
///
/// # Panics
///
/// Panics if `high` is not RGB or `scale` is below 1.
pub(super) fn reduced_size(high: &Planes, scale: f64) -> (usize, usize) {
    assert_eq!(
        high.channels, 3,
        "expected 3 planes (RGB), found {}",
        high.channels
    );
    assert!(scale >= 1.0, "scale is {scale}, expected at least 1");
    let size = |n: usize| ((n as f64 / scale).round() as usize).max(1);
    (size(high.width), size(high.height))
}
