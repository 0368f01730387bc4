//! The output picture, written a range of rows at a time.

use crate::pixels::convert::write_rows;
use crate::pixels::planes::Planes;
use crate::simd::vectorised;
use image::DynamicImage;
use std::ops::Range;

/// A range of rows of the output, as planes.
pub(crate) struct OutputRows {
    /// One plane or three. Values may lie outside `0.0..=1.0`.
    pub rgb: Planes,
    /// The alpha plane, for a color type with alpha. Values may lie outside `0.0..=1.0`.
    pub alpha: Option<Planes>,
    /// The out-of-range residual, which is added after the colour is clamped to `0.0..=1.0`.
    pub residual: Option<Planes>,
}

/// An output picture under construction.
pub(crate) struct Canvas {
    pub(super) image: DynamicImage,
    /// Whether the input is opaque everywhere. The weights of a resize kernel add up to one only up
    /// to rounding, but an opaque picture must stay exactly opaque, also in float.
    pub(super) opaque: bool,
}

impl Canvas {
    /// Writes `rows`. `compute` is called for a few rows at a time, on all cores.
    ///
    /// # Panics
    ///
    /// Panics if `compute` returns alpha for a color type without alpha, no alpha for a color type
    /// with alpha, or planes of another size.
    pub fn write(
        &mut self,
        rows: Range<usize>,
        compute: impl Fn(Range<usize>) -> OutputRows + Sync,
    ) {
        let opaque = self.opaque;
        write_rows(&mut self.image, rows, |rows| {
            let mut rows = compute(rows);
            let clamp = |value: &mut f32| *value = value.clamp(0.0, 1.0);
            vectorised(
                #[inline(always)]
                || rows.rgb.data.iter_mut().for_each(clamp),
            );
            match &mut rows.alpha {
                Some(alpha) if opaque => alpha.data.fill(1.0),
                Some(alpha) => alpha.data.iter_mut().for_each(clamp),
                None => (),
            }
            if let Some(residual) = &rows.residual {
                let pairs = rows.rgb.data.iter_mut().zip(&residual.data);
                pairs.for_each(|(value, residual)| *value += residual);
            }
            (rows.rgb, rows.alpha)
        });
    }

    /// Returns the picture.
    pub fn finish(self) -> DynamicImage {
        self.image
    }
}
