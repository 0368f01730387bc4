//! The peak memory of a pass, computed from the config alone: a fold over [`UNetConfig::walk`].

use super::config::UNetConfig;
use super::events::Event;
use crate::backend::operation::Operation;
use crate::options::attention::Attention;

/// The number of bytes that are allocated, and their peak.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ledger {
    live: u64,
    peak: u64,
}

impl Ledger {
    pub(crate) fn take(&mut self, bytes: u64) {
        self.live += bytes;
        self.peak = self.peak.max(self.live);
    }

    pub(crate) fn free(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.live, "{bytes} of {} bytes", self.live);
        self.live -= bytes;
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }
}

/// A pass whose memory is planned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PassMemory<'a> {
    pub(crate) config: &'a UNetConfig,
    /// Number of pictures in the batch.
    pub(crate) pictures: u64,
    /// Number of tokens of the prompt.
    pub(crate) prompt: usize,
    pub(crate) attention: Attention,
    /// Size of a value in the model's precision in bytes. Residual sums are in f32 or wider.
    pub(crate) element: u64,
    /// [`Backend::workspace`](crate::Backend::workspace).
    pub(crate) workspace: fn(Operation, usize) -> u64,
}

impl PassMemory<'_> {
    /// Records a pass over a sample of `[H, W] = size` in `ledger`. The sample is allocated before
    /// and after the pass. The pass frees everything that it allocates, except its output.
    pub(crate) fn forward(&self, size: [usize; 2], ledger: &mut Ledger) {
        let enter = |event| match event {
            Event::Allocate(tensor) => ledger.take(tensor.bytes(self.pictures, self.element)),
            Event::Free(tensor) => ledger.free(tensor.bytes(self.pictures, self.element)),
            Event::Run(operation) => {
                let workspace = (self.workspace)(operation, self.pictures as usize);
                ledger.take(workspace);
                ledger.free(workspace);
            }
            Event::FoldedLayer { .. } => {}
        };
        self.config.walk(size, self.prompt, self.attention, enter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(config: &UNetConfig, element: u64) -> PassMemory<'_> {
        PassMemory {
            config,
            pictures: 1,
            prompt: 77,
            attention: Attention::Global,
            element,
            workspace: |_, _| 0,
        }
    }

    fn ledger(pass: PassMemory, size: [usize; 2]) -> Ledger {
        let mut ledger = Ledger::default();
        pass.forward(size, &mut ledger);
        ledger
    }

    /// A pass frees everything that it allocates, except its output.
    #[test]
    fn only_the_output_stays() {
        for config in [UNetConfig::sd21(), UNetConfig::nano()] {
            for size in [[1, 1], [9, 13], [64, 64]] {
                for element in [2, 4] {
                    let ledger = ledger(pass(&config, element), size);
                    assert_eq!(
                        ledger.live,
                        (config.out_channels * size[0] * size[1] * 4) as u64
                    );
                }
            }
        }
    }

    /// Computed by hand: the hidden layers of a feed-forward have 8 and 4 times the size of its
    /// input. The peak of SD 2.1 at 64x64 is therefore in the feed-forward of the first up layer of
    /// the first stage, with 320 channels over the whole sample. At that time, the transformer's
    /// input, the tokens, their norm, the output and two skips are also allocated.
    #[test]
    fn sd21_peaks_at_the_widest_feed_forward() {
        let config = UNetConfig::sd21();
        let pass = PassMemory {
            workspace: |operation, _| match operation {
                Operation::FeedForward { tokens, hidden, .. } => (3 * tokens * hidden * 4) as u64,
                _ => 0,
            },
            ..pass(&config, 4)
        };
        let widest = 320 * 64 * 64 * 4;
        assert_eq!(ledger(pass, [64, 64]).peak, (4 + 8 + 4 + 2) * widest);
    }

    /// Pins the peaks for a workspace of zero, and for one with a byte for each
    /// multiply-accumulate.
    #[test]
    fn peaks_are_unchanged() {
        let (sd21, nano) = (UNetConfig::sd21(), UNetConfig::nano());
        let (global, windows) = (Attention::Global, Attention::Window);
        for (config, size, attention, element, pictures, peaks) in [
            (&sd21, [64, 64], global, 4, 1, [47_185_920, 15_136_194_560]),
            (&sd21, [65, 65], global, 2, 1, [54_415_360, 16_098_222_080]),
            (&sd21, [9, 13], global, 2, 2, [3_112_960, 1_034_746_880]),
            (
                &sd21,
                [45, 37],
                windows(16),
                4,
                2,
                [38_786_560, 12_919_900_160],
            ),
            (
                &sd21,
                [270, 480],
                windows(64),
                2,
                1,
                [1_327_104_000, 478_961_356_800],
            ),
            (&nano, [64, 64], global, 4, 1, [9_961_472, 746_061_824]),
            (&nano, [65, 65], global, 2, 1, [9_928_288, 766_989_600]),
            (&nano, [9, 13], global, 2, 2, [567_232, 42_479_424]),
            (&nano, [45, 37], windows(16), 4, 2, [8_098_560, 606_539_520]),
            (
                &nano,
                [270, 480],
                windows(64),
                2,
                1,
                [265_420_800, 23_527_065_600],
            ),
        ] {
            let empty = PassMemory {
                attention,
                pictures,
                ..pass(config, element)
            };
            let full = PassMemory {
                workspace: |operation, pictures| operation.macs() * pictures as u64,
                ..empty
            };
            let found = [empty, full].map(|pass| ledger(pass, size).peak);
            assert_eq!(found, peaks, "{size:?}, {attention:?}");
        }
    }
}
