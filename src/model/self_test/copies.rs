//! Compares the operations that copy or add values with the reference.

use super::{SelfTest, reference};
use crate::backend::Backend;
use crate::options::padding::{Edge, Padding, padded_side};
use crate::restore::shuffle::PICTURE_CHANNELS;

impl<B: Backend> SelfTest<'_, B> {
    /// Compares pixel unshuffle and shuffle, crop, concatenation, additions and weighted sums.
    pub(super) fn copies(&mut self, factor: usize) {
        let (size @ [h, w], padding, edge) = ([11, 21], Padding::new(3, 5), Edge::Reflect);
        let padded = size.map(|n| padded_side(n, factor));
        let x = self.input([1, PICTURE_CHANNELS, h, w], 0.0, 1.0);
        let unshuffled = B::pad_and_unshuffle(x.tensor.clone(), factor, padding, padded, edge);
        self.compare(format!("pixel unshuffle of {h}x{w}"), unshuffled, 1, |at| {
            x.values[reference::unshuffle_source(size, factor, padding, padded, edge, at)]
        });
        let [rows, columns] = padded.map(|n| n / factor);
        let channels = PICTURE_CHANNELS * factor * factor;
        let cells = self.input([1, channels, rows, columns], 0.0, 1.0);
        let shuffled = B::shuffle_and_crop(cells.tensor, factor, padding, size);
        self.compare(format!("pixel shuffle to {h}x{w}"), shuffled, 1, |at| {
            cells.values[reference::shuffle_source(size, factor, padding, padded, at)]
        });

        let part = self.input([1, PICTURE_CHANNELS, 4, 7], 0.0, 1.0);
        let joined = B::concatenate(x.tensor.clone(), x.tensor.clone());
        self.compare("concatenation".into(), joined, 1, |at| {
            x.values[at % x.values.len()]
        });
        let within = |at: usize| (at / 28 * h + 5 + at / 7 % 4) * w + 9 + at % 7;
        let cropped = B::crop(x.tensor.clone(), [5, 9], [4, 7]);
        self.compare("crop".into(), cropped, 1, |at| x.values[within(at)]);
        let mut sum = x.values.clone();
        for (at, value) in part.values.iter().enumerate() {
            sum[within(at)] += value;
        }
        let added = B::add_at(x.tensor.clone(), part.tensor, [5, 9]);
        self.compare("addition of a part".into(), added, 1, |at| sum[at]);
        let other = self.input([1, PICTURE_CHANNELS, h, w], 0.0, 1.0);
        let mixed = B::mix(x.tensor.clone(), other.tensor.clone(), [1.5, -0.5]);
        self.compare("mixture".into(), mixed, 1, |at| {
            1.5 * x.values[at] - 0.5 * other.values[at]
        });
        let sum = B::add(x.tensor.clone(), other.tensor);
        self.compare("addition".into(), sum, 1, |at| {
            x.values[at] + other.values[at]
        });
        let pixel = |at: usize| at % PICTURE_CHANNELS * h * w + at / PICTURE_CHANNELS;
        let tokens = B::to_tokens(x.tensor.clone());
        self.compare("pixels to tokens".into(), tokens, 1, |at| {
            x.values[pixel(at)]
        });
        let tokens = self.input([1, h * w, PICTURE_CHANNELS], 0.0, 1.0);
        let sum = B::add_tokens(x.tensor, tokens.tensor);
        self.compare("addition of tokens".into(), sum, 1, |at| {
            x.values[at] + tokens.values[at % (h * w) * PICTURE_CHANNELS + at / (h * w)]
        });
    }
}
