//! The model's operations and their shapes.

/// An operation of a pass over one picture. Concatenations, residual additions and enlargements are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// [`Backend::convolution`](crate::Backend::convolution).
    Convolution {
        /// Channels of input and output.
        channels: [usize; 2],
        /// Height and width of the input.
        size: [usize; 2],
        /// Side of the kernel.
        kernel: usize,
        /// Step between the pixels that are kept.
        stride: usize,
    },
    /// [`Backend::token_linear`](crate::Backend::token_linear).
    Linear {
        /// Tokens.
        tokens: usize,
        /// Channels of input and output.
        channels: [usize; 2],
        /// Whether a bias is added.
        bias: bool,
    },
    /// [`Backend::multi_head_attention`](crate::Backend::multi_head_attention).
    Attention {
        /// Tokens of the query.
        queries: usize,
        /// Tokens of key and value.
        keys: usize,
        /// Channels of a token.
        channels: usize,
        /// Heads side by side in them.
        heads: usize,
    },
    /// [`Backend::group_norm`](crate::Backend::group_norm).
    GroupNorm {
        /// Channels.
        channels: usize,
        /// Height and width.
        size: [usize; 2],
        /// Whether SiLU follows.
        silu: bool,
    },
    /// [`Backend::token_norm`](crate::Backend::token_norm).
    TokenNorm {
        /// Tokens.
        tokens: usize,
        /// Channels of a token.
        channels: usize,
    },
    /// [`Backend::feed_forward`](crate::Backend::feed_forward).
    FeedForward {
        /// Tokens.
        tokens: usize,
        /// Channels of input and output.
        channels: usize,
        /// Channels of what GEGLU gives, half of what it takes.
        hidden: usize,
    },
}

impl Operation {
    /// Multiply-accumulates; none for norms and activations.
    pub fn macs(self) -> u64 {
        let product = |factors: &[usize]| factors.iter().map(|&n| n as u64).product();
        match self {
            Self::Convolution {
                channels: [input, output],
                size: [h, w],
                kernel,
                stride,
            } => {
                let [h, w] = [h, w].map(|n| n.div_ceil(stride));
                product(&[h, w, input, output, kernel, kernel])
            }
            Self::Linear {
                tokens,
                channels: [input, output],
                ..
            } => product(&[tokens, input, output]),
            Self::Attention {
                queries,
                keys,
                channels,
                ..
            } => product(&[2, queries, keys, channels]),
            Self::FeedForward {
                tokens,
                channels,
                hidden,
            } => product(&[3, tokens, channels, hidden]),
            Self::GroupNorm { .. } | Self::TokenNorm { .. } => 0,
        }
    }
}
