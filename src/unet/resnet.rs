//! The ResNet block (diffusers' `ResnetBlock2D`).

use super::conv::{Conv2d, conv1x1, conv3x3};
use super::norm::GroupNorm;
use crate::backend::Backend;
use crate::backend::activations::traced;
use crate::options::progress::{Cancellable, Watch, unwatched};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Tensor, activation::silu};

/// `x + conv2(silu(norm2(conv1(silu(norm1(x))) + time)))`, with a 1x1 convolution of `x` where the
/// width changes. The blocks of a VAE have no `time`.
#[derive(Module, Debug)]
pub struct ResnetBlock<B: Backend> {
    pub(crate) norm1: GroupNorm<B>,
    pub(super) conv1: Conv2d<B>,
    pub(super) time_emb_proj: Option<Linear<B>>,
    pub(super) norm2: GroupNorm<B>,
    pub(super) conv2: Conv2d<B>,
    conv_shortcut: Option<Conv2d<B>>,
}

impl<B: Backend> ResnetBlock<B> {
    pub(crate) fn new(
        [input, output]: [usize; 2],
        time_embed_dim: Option<usize>,
        groups: usize,
        epsilon: f64,
        device: &B::Device,
    ) -> Self {
        Self {
            norm1: GroupNorm::new(groups, input, epsilon, device),
            conv1: conv3x3([input, output], 1, device),
            time_emb_proj: time_embed_dim.map(|dim| LinearConfig::new(dim, output).init(device)),
            norm2: GroupNorm::new(groups, output, epsilon, device),
            conv2: conv3x3([output, output], 1, device),
            conv_shortcut: (input != output).then(|| conv1x1([input, output], device)),
        }
    }

    /// Folds a time embedding: returns the first convolution's bias with the projected embedding
    /// added.
    ///
    /// # Shapes
    ///
    /// - time_embedding: `[1, time_embed_dim]`
    /// - output: `[C]`
    ///
    /// # Panics
    ///
    /// Panics if the block has no time embedding.
    pub fn fold_time(&self, time_embedding: Tensor<B, 2>) -> Tensor<B, 1> {
        let projection = self.time_emb_proj.as_ref();
        let projection = projection.expect("a UNet's block has a time embedding");
        let time = projection.forward(silu(time_embedding)).squeeze_dim(0);
        self.conv1.bias.val() + time
    }

    /// Applies a block without a time embedding.
    ///
    /// # Shapes
    ///
    /// - input: `[N, C_in, H, W]`
    /// - output: `[N, C, H, W]`
    #[cfg(feature = "latent")]
    pub fn forward_timeless(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.forward(x, self.conv1.bias.val())
    }

    /// Applies the block, with its time embedding folded into `bias`.
    ///
    /// # Shapes
    ///
    /// - input: `[N, C_in, H, W]`
    /// - bias: `[C]`, from [`fold_time`](Self::fold_time)
    /// - output: `[N, C, H, W]`
    pub fn forward(&self, x: Tensor<B, 4>, bias: Tensor<B, 1>) -> Tensor<B, 4> {
        unwatched(|watch| self.forward_watched(x, bias, watch))
    }

    /// Like [`forward`](Self::forward), but can be cancelled between the convolutions, which are
    /// the longest operations of a UNet at the widest stage.
    pub(crate) fn forward_watched(
        &self,
        x: Tensor<B, 4>,
        bias: Tensor<B, 1>,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        let mut parts = watch.parts(2);
        let h = self.norm1.forward_silu(x.clone());
        watch.check()?;
        let h = self.conv1.forward_biased(h, bias);
        parts.done()?;
        let h = self.norm2.forward_silu(h);
        watch.check()?;
        let h = self.conv2.forward(h);
        watch.check()?;
        let x = match &self.conv_shortcut {
            Some(shortcut) => shortcut.forward_wide(x),
            None => x,
        };
        let x = traced("sum", B::add(x, h));
        parts.done()?;
        Ok(x)
    }
}
