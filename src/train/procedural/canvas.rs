//! The canvas of a layer: linear light, at twice the size of the picture, painted from front to
//! back.
//!
//! A covered pixel is final, and surfaces behind it are never evaluated. This is the exact form of
//! the dead leaves model. The cost of a picture is that of its visible surface, plus one test for
//! each hidden pixel.

use super::camera::Layer;

/// Linear RGB light.
pub(super) type Light = [f32; 3];

/// A surface with a colour at each position.
pub(super) trait Surface {
    /// Returns the light at (`x`, `y`), in canvas pixels.
    fn light(&self, x: f32, y: f32) -> Light;
}

impl Surface for Light {
    fn light(&self, _: f32, _: f32) -> Light {
        *self
    }
}

#[derive(Clone, Copy, PartialEq)]
enum PixelState {
    /// Not covered yet.
    Open,
    /// Covered, with its final light.
    Covered,
    /// Outside the layer; stays transparent.
    Masked,
}

/// A rectangle in canvas pixels. It may extend beyond the canvas.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

impl Bounds {
    /// Returns the square with centre (`x`, `y`) and side `2 * radius`.
    pub(super) fn around(x: f32, y: f32, radius: f32) -> Self {
        Self {
            left: x - radius,
            top: y - radius,
            right: x + radius,
            bottom: y + radius,
        }
    }
}

/// The light and the state of each pixel of a layer.
pub(super) struct LayerCanvas {
    width: usize,
    height: usize,
    light: Vec<Light>,
    state: Vec<PixelState>,
    open: usize,
    /// Bounding box of the pixels that are not masked.
    extent: Bounds,
}

impl LayerCanvas {
    /// Creates a canvas with all pixels open. `width` and `height` are those of the picture; the
    /// canvas has twice as many pixels along each side.
    pub(super) fn new(width: usize, height: usize) -> Self {
        let (width, height) = (2 * width, 2 * height);
        Self {
            width,
            height,
            light: vec![[0.0; 3]; width * height],
            state: vec![PixelState::Open; width * height],
            open: width * height,
            extent: Bounds {
                left: 0.0,
                top: 0.0,
                right: width as f32,
                bottom: height as f32,
            },
        }
    }

    /// Masks all pixels for which `inside` returns false.
    pub(super) fn restrict(&mut self, inside: impl Fn(f32, f32) -> bool) {
        let mut extent = Bounds {
            left: self.width as f32,
            top: self.height as f32,
            right: 0.0,
            bottom: 0.0,
        };
        for y in 0..self.height {
            for x in 0..self.width {
                let state = &mut self.state[y * self.width + x];
                let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
                if inside(x, y) {
                    extent.left = extent.left.min(x);
                    extent.top = extent.top.min(y);
                    extent.right = extent.right.max(x);
                    extent.bottom = extent.bottom.max(y);
                } else if *state == PixelState::Open {
                    *state = PixelState::Masked;
                    self.open -= 1;
                }
            }
        }
        if extent.left < extent.right {
            self.extent = extent;
        }
    }

    /// Returns the bounding box of the pixels that are not masked.
    pub(super) fn extent(&self) -> Bounds {
        self.extent
    }

    /// Returns the length of the longer side, in canvas pixels.
    pub(super) fn side(&self) -> f32 {
        self.width.max(self.height) as f32
    }

    /// Returns the number of open pixels.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Covers the open pixels within `bounds` for which `inside` returns true with `surface`.
    pub(super) fn paint(
        &mut self,
        bounds: Bounds,
        inside: impl Fn(f32, f32) -> bool,
        surface: &impl Surface,
    ) {
        let clip = |v: f32, n: usize| (v.max(0.0) as usize).min(n);
        let columns = clip(bounds.left, self.width)..clip(bounds.right.ceil(), self.width);
        let rows = clip(bounds.top, self.height)..clip(bounds.bottom.ceil(), self.height);
        for y in rows {
            for x in columns.clone() {
                let i = y * self.width + x;
                if self.state[i] != PixelState::Open {
                    continue;
                }
                let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
                if inside(x, y) {
                    self.light[i] = surface.light(x, y);
                    self.state[i] = PixelState::Covered;
                    self.open -= 1;
                }
            }
        }
    }

    /// Covers all open pixels.
    pub(super) fn paint_rest(&mut self, surface: &impl Surface) {
        self.paint(self.extent, |_, _| true, surface);
    }

    /// Reduces the canvas to the size of the picture by averaging 2 x 2 pixels. Pixels that were
    /// not painted are transparent.
    pub(super) fn into_layer(self) -> Layer {
        let (width, height) = (self.width / 2, self.height / 2);
        let mut layer = Layer::empty(width, height);
        for y in 0..height {
            for x in 0..width {
                let mut sum = [0.0; 4];
                let corner = 2 * y * self.width + 2 * x;
                for i in [
                    corner,
                    corner + 1,
                    corner + self.width,
                    corner + self.width + 1,
                ] {
                    if self.state[i] == PixelState::Covered {
                        for (sum, light) in sum.iter_mut().zip(self.light[i]) {
                            *sum += light;
                        }
                        sum[3] += 1.0;
                    }
                }
                for (plane, sum) in layer.planes.iter_mut().zip(sum) {
                    plane[y * width + x] = 0.25 * sum;
                }
            }
        }
        layer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_covered_pixel_is_final() {
        let mut canvas = LayerCanvas::new(4, 4);
        canvas.paint(Bounds::around(2.0, 2.0, 2.0), |_, _| true, &[1.0; 3]);
        assert_eq!(canvas.open(), 48);
        canvas.paint_rest(&[0.5; 3]);
        assert_eq!(canvas.open(), 0);
        let layer = canvas.into_layer();
        assert_eq!(layer.planes[0][0], 1.0);
        assert_eq!(layer.planes[0][15], 0.5);
        assert!(layer.planes[3].iter().all(|&a| a == 1.0));
    }

    #[test]
    fn masked_pixels_stay_transparent() {
        let mut canvas = LayerCanvas::new(4, 2);
        canvas.restrict(|x, _| x < 3.0);
        canvas.paint_rest(&[1.0; 3]);
        let layer = canvas.into_layer();
        assert_eq!(layer.planes[3][..4], [1.0, 0.5, 0.0, 0.0]);
        assert_eq!(layer.planes[1], layer.planes[3]);
    }
}
