//! The operations that convert 8-bit pictures to tensors and back on the device.
//! `upscale::on_device` uses them.

use crate::backend::plain::picture_operations as plain;
use crate::options::padding::Edge;
use burn::tensor::{Int, Tensor};

/// Conversion of 8-bit pictures to tensors and back, and their correction, on a burn backend.
///
/// **Unstable:** this trait may change in any release. It is public only because it is a supertrait
/// of [`Backend`](crate::Backend). All items have default bodies, so an empty implementation is
/// enough: `impl gendr_pix::backend::PictureOperations for MyBackend {}`.
pub trait PictureOperations: burn::tensor::backend::Backend {
    /// Whether an enlargement converts pictures on the device, by the operations of this trait.
    /// This saves time where the device is not the host: bytes are transferred instead of floats.
    const PICTURES_ON_DEVICE: bool = false;

    /// Converts an 8-bit picture to a tensor and enlarges it. Each row and each column of the
    /// output is a weighted sum of four rows or columns of the picture.
    ///
    /// # Shapes
    ///
    /// - bytes: `[ceil(3 H W / 4)]`, 32-bit integers that each hold four bytes of the picture
    ///   `[H, W, 3]`, the first byte in the lowest bits. The bytes are in 0..=255
    /// - size: `[H, W]`
    /// - sources and weights: `[H', 4]` for rows, `[W', 4]` for columns, both 32 bits wide
    /// - output: `[1, 3, H', W']` in f32, in -1..=1 except for overshoot that negative weights
    ///   cause
    fn from_bytes(
        bytes: Tensor<Self, 1, Int>,
        size: [usize; 2],
        sources: [Tensor<Self, 2, Int>; 2],
        weights: [Tensor<Self, 2>; 2],
    ) -> Tensor<Self, 4> {
        plain::from_bytes(bytes, size, sources, weights)
    }

    /// Returns minimum and maximum of each channel of `x`, and a flag that is 1 if the channel
    /// contains NaN or infinity, and 0 otherwise. An implementation may divide the channels into
    /// any number of parts.
    ///
    /// # Shapes
    ///
    /// - x: `[1, C, H, W]` in f32
    /// - output: `[C, parts, 3]`: minimum, maximum, non-finite flag
    fn extremes(x: Tensor<Self, 4>) -> Tensor<Self, 3> {
        plain::extremes(x)
    }

    /// Returns `sum + weight * smooth(a - b)`. The smoothing applies the filter `[1, 2, 1] / 4`
    /// along both axes `level` times, with gaps of 1, 2, 4, ... pixels between the taps.
    ///
    /// # Shapes
    ///
    /// - sum, a, b and output: `[1, C, H, W]` in f32
    fn add_smoothed(
        sum: Tensor<Self, 4>,
        [a, b]: [Tensor<Self, 4>; 2],
        level: usize,
        weight: f64,
        edge: Edge,
    ) -> Tensor<Self, 4> {
        plain::add_smoothed(sum, [a, b], level, weight, edge)
    }

    /// Converts a tensor to the bytes of an 8-bit picture. Values are clamped to -1..=1 and rounded
    /// to the nearest level.
    ///
    /// # Shapes
    ///
    /// - picture: `[1, 3, H, W]` in f32
    /// - output: `[ceil(3 H W / 4)]`, in the layout that [`from_bytes`](Self::from_bytes) takes
    fn to_bytes(picture: Tensor<Self, 4>) -> Tensor<Self, 1, Int> {
        plain::to_bytes(picture)
    }
}
