//! The operations of the models with their shapes, for memory plans and counts of
//! multiply-accumulates.

/// An operation in a pass over one picture. Concatenations, residual additions and upsampling are
/// not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// [`Backend::convolution`](crate::Backend::convolution).
    Convolution {
        /// Channels of input and output.
        channels: [usize; 2],
        /// Height and width of the input in pixels.
        size: [usize; 2],
        /// Kernel size, the same on both axes.
        kernel: usize,
        /// Stride on both axes.
        stride: usize,
    },
    /// [`Backend::token_linear`](crate::Backend::token_linear).
    Linear {
        /// Number of tokens.
        tokens: usize,
        /// Channels of input and output.
        channels: [usize; 2],
        /// Whether a bias is added.
        bias: bool,
    },
    /// [`Backend::multi_head_attention`](crate::Backend::multi_head_attention).
    Attention {
        /// Number of tokens of the query.
        queries: usize,
        /// Number of tokens of key and value.
        keys: usize,
        /// Channels per token.
        channels: usize,
        /// Number of heads that share the channels.
        heads: usize,
    },
    /// [`Backend::group_norm`](crate::Backend::group_norm).
    GroupNorm {
        /// Number of channels.
        channels: usize,
        /// Height and width in pixels.
        size: [usize; 2],
        /// Whether SiLU follows the norm.
        silu: bool,
    },
    /// [`Backend::token_norm`](crate::Backend::token_norm).
    TokenNorm {
        /// Number of tokens.
        tokens: usize,
        /// Channels per token.
        channels: usize,
    },
    /// [`Backend::feed_forward`](crate::Backend::feed_forward).
    FeedForward {
        /// Number of tokens.
        tokens: usize,
        /// Channels of input and output.
        channels: usize,
        /// Channels of GEGLU's output, which are half those of its input.
        hidden: usize,
    },
}

impl Operation {
    /// Returns the number of multiply-accumulates. Norms and activations count as zero.
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
