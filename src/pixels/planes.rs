//! A picture as planes of `f32` in host memory, before it becomes a tensor.

use std::ops::Range;

/// The planes of one picture: `[channels, height, width]`, row-major, sRGB-encoded values in
/// `0.0..=1.0`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Planes {
    /// Number of planes: 3 for RGB, 1 for grey or alpha.
    pub channels: usize,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `channels * height * width` values.
    pub data: Vec<f32>,
}

impl Planes {
    /// Creates planes from `data`, one plane after the other.
    ///
    /// # Panics
    ///
    /// Panics if `data` does not contain `channels * height * width` values.
    #[must_use]
    pub fn new(channels: usize, width: usize, height: usize, data: Vec<f32>) -> Self {
        assert_eq!(
            data.len(),
            channels * width * height,
            "{channels} planes of {width}x{height}"
        );
        Self {
            channels,
            width,
            height,
            data,
        }
    }

    /// Creates planes with the same `value` everywhere.
    #[must_use]
    pub fn filled(channels: usize, width: usize, height: usize, value: f32) -> Self {
        Self::new(
            channels,
            width,
            height,
            vec![value; channels * width * height],
        )
    }

    /// Returns the plane of `channel`: `height * width` values.
    pub fn plane(&self, channel: usize) -> &[f32] {
        let n = self.width * self.height;
        &self.data[channel * n..][..n]
    }

    /// Returns the plane of `channel` for writing.
    pub fn plane_mut(&mut self, channel: usize) -> &mut [f32] {
        let n = self.width * self.height;
        &mut self.data[channel * n..][..n]
    }

    /// Converts one grey plane to three equal planes. Three planes are returned unchanged.
    pub(crate) fn into_rgb(self) -> Self {
        match self.channels {
            1 => Self::new(3, self.width, self.height, self.data.repeat(3)),
            _ => self,
        }
    }

    /// Copies `rows` of all planes.
    ///
    /// # Panics
    ///
    /// Panics if the rows do not lie within the picture.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        let (width, height) = (self.width, rows.len());
        let values = rows.start * width..rows.end * width;
        let planes: Vec<&[f32]> = (0..self.channels)
            .map(|channel| &self.plane(channel)[values.clone()])
            .collect();
        Self::new(self.channels, width, height, planes.concat())
    }

    /// Copies the rectangle of `width` x `height` pixels with the top left corner (`x`, `y`).
    ///
    /// # Panics
    ///
    /// Panics if the rectangle does not lie within the picture.
    #[cfg(feature = "train")]
    #[must_use]
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Self {
        assert!(
            x + width <= self.width && y + height <= self.height,
            "{width}x{height} at ({x}, {y}) does not fit in {}x{}",
            self.width,
            self.height
        );
        let data = (0..self.channels)
            .flat_map(|c| {
                let plane = self.plane(c);
                (y..y + height).flat_map(move |row| &plane[row * self.width + x..][..width])
            })
            .copied()
            .collect();
        Self::new(self.channels, width, height, data)
    }
}
