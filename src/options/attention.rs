//! The range of self-attention.

/// The range of self-attention: which tokens (pixels of the UNet's hidden state) a token attends
/// to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attention {
    /// All tokens of the stage, as in training. The cost grows with the square of the number of
    /// pixels.
    #[default]
    Global,
    /// The tokens of a window of at most this many tokens per side, in every stage that is larger
    /// than the window. A token covers 8x8 pixels of the picture in the first stage, and twice as
    /// many per side in each following stage. The cost grows with the number of pixels: for sd21 at
    /// 3840x2160, windows of 64 need less than a fifth of the operations. A window that is as large
    /// as the stage changes nothing.
    Window(usize),
}
