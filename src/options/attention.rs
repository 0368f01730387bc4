//! How far self-attention sees.

/// What a pixel of the UNet's hidden state (a token) sees in self-attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attention {
    /// All tokens of its stage, as the weights were trained: the cost grows with the square of the picture.
    #[default]
    Global,
    /// A window of at most this many tokens a side, in every stage that is larger; a token is 8 pixels of the picture
    /// a side in the first stage, and twice as many in each stage that follows. The cost grows with the picture: of sd21
    /// at 3840x2160 windows of 64 leave less than a fifth of it. A window that holds the whole stage changes nothing.
    Window(usize),
}
