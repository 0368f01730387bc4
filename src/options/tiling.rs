//! The size and the overlap of tiles.

use crate::error::{Error, Result};

/// The side of a tile and the minimum overlap of neighbouring tiles, in output pixels.
///
/// A model works on cells of 8x8 pixels. It rounds the side down and the overlap up to whole cells.
///
/// ```
/// use gendr_pix::Tiling;
///
/// let tiling = Tiling::new(768, 96)?;
/// assert_eq!((tiling.side(), tiling.overlap()), (768, 96));
/// # Ok::<(), gendr_pix::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    side: usize,
    overlap: usize,
}

impl Default for Tiling {
    /// A side of 512 pixels and an overlap of 128 pixels, as in diffusers.
    fn default() -> Self {
        Self {
            side: 512,
            overlap: 128,
        }
    }
}

impl Tiling {
    /// Creates a tiling with tiles of `side` x `side` pixels. Neighbours share at least `overlap`
    /// pixels.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if `overlap` is not smaller than `side`.
    pub fn new(side: usize, overlap: usize) -> Result<Self> {
        if overlap >= side {
            return Err(Error::Option {
                option: "tiling",
                reason: format!("an overlap of {overlap} is not smaller than the side {side}"),
            });
        }
        Ok(Self { side, overlap })
    }

    /// Creates a tiling with tiles of `side` x `side` pixels that overlap by a quarter, as the
    /// default tiles do.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if `side` is zero.
    pub fn with_side(side: usize) -> Result<Self> {
        Self::new(side, side / 4)
    }

    /// Returns the side of a tile in pixels.
    #[must_use]
    pub fn side(self) -> usize {
        self.side
    }

    /// Returns the minimum overlap of neighbouring tiles in pixels.
    #[must_use]
    pub fn overlap(self) -> usize {
        self.overlap
    }

    /// Checks the tiling for a model whose cells have sides of `factor` pixels.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if a tile is smaller than a cell.
    pub(crate) fn validate(self, factor: usize) -> Result<()> {
        if self.side >= factor {
            return Ok(());
        }
        Err(Error::Option {
            option: "tiling",
            reason: format!(
                "a side of {} pixels is smaller than the model's cell of {factor}",
                self.side
            ),
        })
    }
}
