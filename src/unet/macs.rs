//! The list of operations of a pass, and the number of its multiply-accumulates: folds over
//! [`UNetConfig::walk`].

use super::config::UNetConfig;
use super::events::Event;
use crate::backend::operation::Operation;
use crate::options::attention::Attention;

/// Multiply-accumulates of one pass over one picture. Norms, activations and additions do not
/// count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Macs {
    /// Convolutions and linear layers whose input depends on the picture.
    pub layers: u64,
    /// Layers whose input is the timestep or the prompt. They run once, when a model is built.
    pub folded: u64,
    /// The two matrix products of each attention: queries by keys, and weights by values.
    pub attention: u64,
}

impl Macs {
    /// Returns the number of multiply-accumulates that a pass of this crate computes: layers and
    /// attention.
    pub fn pass(self) -> u64 {
        self.layers + self.attention
    }

    /// Returns the number of multiply-accumulates by the paper's rule: all layers, folded or not,
    /// without the attention products.
    pub fn paper(self) -> u64 {
        self.layers + self.folded
    }

    /// Adds an operation that depends on the picture.
    pub(crate) fn add(&mut self, operation: Operation) {
        match operation {
            Operation::Attention { .. } => self.attention += operation.macs(),
            _ => self.layers += operation.macs(),
        }
    }
}

impl UNetConfig {
    /// Returns the operations of a pass over a sample of `height` x `width` (the picture's sides
    /// divided by 8) with a prompt of `tokens` tokens, in order.
    pub fn operations(&self, height: usize, width: usize, tokens: usize) -> Vec<Operation> {
        self.operations_attending(height, width, tokens, Attention::Global)
    }

    /// Like [`operations`](Self::operations), with the given self-attention.
    pub(crate) fn operations_attending(
        &self,
        height: usize,
        width: usize,
        tokens: usize,
        attention: Attention,
    ) -> Vec<Operation> {
        let mut operations = Vec::new();
        self.walk([height, width], tokens, attention, |event| {
            if let Event::Run(operation) = event {
                operations.push(operation);
            }
        });
        operations
    }

    /// Counts the multiply-accumulates of a pass over a sample of `height` x `width` (the picture's
    /// sides divided by 8) with a prompt of `tokens` tokens.
    pub fn macs(&self, height: usize, width: usize, tokens: usize) -> Macs {
        self.macs_attending(height, width, tokens, Attention::Global)
    }

    /// Like [`macs`](Self::macs), with the given self-attention.
    pub fn macs_attending(
        &self,
        height: usize,
        width: usize,
        tokens: usize,
        attention: Attention,
    ) -> Macs {
        let mut count = Macs::default();
        self.walk([height, width], tokens, attention, |event| match event {
            Event::Run(operation) => count.add(operation),
            Event::FoldedLayer { macs } => count.folded += macs,
            Event::Allocate(_) | Event::Free(_) => {}
        });
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hooks on every `Conv2d` and `Linear` of diffusers' UNet count 343,538,073,600 at 512x512.
    /// The paper states 344 G, and 744 G for PadCFG's two passes at 520x520.
    #[test]
    fn sd21_has_the_cost_in_the_paper() {
        let config = UNetConfig::sd21();
        let macs = config.macs(64, 64, 77);
        assert_eq!(macs.paper(), 343_538_073_600);
        assert_eq!(macs.paper() + macs.attention, 406_564_208_640);
        let padcfg = 2 * config.macs(65, 65, 77).paper();
        assert!((743.0e9..744.5e9).contains(&(padcfg as f64)), "{padcfg}");
    }

    /// At 3840x2160 (270 x 480 cells), global attention is more than four fifths of the work.
    #[test]
    fn windows_save_four_fifths_of_the_work_at_4k() {
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
