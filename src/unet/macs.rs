//! Multiply-accumulate operations of a pass, counted from the config alone.

use super::config::UNetConfig;
use super::walk::Walk;
use crate::backend::operation::Operation;
use crate::options::attention::Attention;

/// Multiply-accumulates of one pass over one picture; norms, activations and additions are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Macs {
    /// Convolutions and linear layers whose input is the picture.
    pub layers: u64,
    /// Layers whose input is the timestep or the prompt: computed once, when a model is put together.
    pub folded: u64,
    /// The two matrix products of each attention: queries by keys, and weights by values.
    pub attention: u64,
}

impl Macs {
    /// What a pass of this crate computes.
    pub fn pass(self) -> u64 {
        self.layers + self.attention
    }

    /// What the paper counts: all layers, folded or not, without the attention products.
    pub fn paper(self) -> u64 {
        self.layers + self.folded
    }
}

impl UNetConfig {
    /// Counts a pass over a sample of `height` x `width` (the picture's sides over 8) with a prompt of `tokens` tokens.
    pub fn macs(&self, height: usize, width: usize, tokens: usize) -> Macs {
        self.macs_attending(height, width, tokens, Attention::Global)
    }

    /// [`macs`](Self::macs) with another self-attention.
    pub fn macs_attending(
        &self,
        height: usize,
        width: usize,
        tokens: usize,
        attention: Attention,
    ) -> Macs {
        let walk = Walk::new(self, [height, width], tokens, attention);
        let mut macs = Macs {
            folded: walk.folded,
            ..Macs::default()
        };
        for operation in walk.operations {
            match operation {
                Operation::Attention { .. } => macs.attention += operation.macs(),
                _ => macs.layers += operation.macs(),
            }
        }
        macs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// diffusers' layers, counted by hooks on every `Conv2d` and `Linear`: 343,538,073,600 at 512x512.
    /// The paper says 344 G, and 744 G for PadCFG's two passes at 520x520.
    #[test]
    fn sd21_costs_what_the_paper_says() {
        let config = UNetConfig::sd21();
        let macs = config.macs(64, 64, 77);
        assert_eq!(macs.paper(), 343_538_073_600);
        assert_eq!(macs.paper() + macs.attention, 406_564_208_640);
        let padcfg = 2 * config.macs(65, 65, 77).paper();
        assert!((743.0e9..744.5e9).contains(&(padcfg as f64)), "{padcfg}");
    }

    /// 3840x2160, 270 x 480 cells: attentions of all to all are more than four fifths of the work.
    #[test]
    fn windows_leave_less_than_a_fifth_at_4k() {
        let config = UNetConfig::sd21();
        let global = config.macs(270, 480, 77);
        let windows = config.macs_attending(270, 480, 77, Attention::Window(64));
        assert_eq!(global.paper(), windows.paper());
        let ratio = global.pass() as f64 / windows.pass() as f64;
        assert!((5.6..5.7).contains(&ratio), "{ratio}");
        let whole = config.macs_attending(270, 480, 77, Attention::Window(480));
        assert_eq!(whole, global);
    }
}
