//! Loads the input and target pictures of a training run onto the device, batch by batch.

use super::objective::Pair;
use crate::backend::Backend;
use crate::restore::shuffle::PICTURE_CHANNELS;
use crate::train::data::{Batch, DataConfig, batches};
use crate::train::pictures::PictureSource;
use burn::tensor::{Tensor, TensorData};
use std::collections::VecDeque;
use std::iter::{self, StepBy};
use std::ops::Range;
use std::sync::mpsc::Receiver;

/// Loads a sequence of batches. A thread prepares them; it starts with the first request.
pub(super) struct PairLoader<B: Backend> {
    config: DataConfig,
    source: PictureSource,
    numbers: StepBy<Range<u64>>,
    batches: Option<Receiver<Batch>>,
    /// Pairs that [`look_ahead`](Self::look_ahead) has loaded before [`next`](Self::next) returns
    /// them.
    ahead: VecDeque<Pair<B>>,
    device: B::Device,
}

impl<B: Backend> PairLoader<B> {
    /// Creates a loader of the batches with `numbers`. `source` is the result of
    /// [`DataConfig::open`].
    pub(super) fn new(
        config: DataConfig,
        source: PictureSource,
        numbers: StepBy<Range<u64>>,
        device: &B::Device,
    ) -> Self {
        Self {
            config,
            source,
            numbers,
            batches: None,
            ahead: VecDeque::new(),
            device: device.clone(),
        }
    }

    /// Returns the next pair.
    pub(super) fn next(&mut self) -> Pair<B> {
        let ahead = self.ahead.pop_front();
        ahead.unwrap_or_else(|| self.load())
    }

    /// Returns an endless iterator over the coming pairs. [`next`](Self::next) returns the same
    /// pairs later.
    pub(super) fn look_ahead(&mut self) -> impl Iterator<Item = Pair<B>> {
        let mut count = 0;
        iter::from_fn(move || {
            if count == self.ahead.len() {
                let pair = self.load();
                self.ahead.push_back(pair);
            }
            count += 1;
            self.ahead.get(count - 1).cloned()
        })
    }

    /// Draws `count` pairs that are not in the training sequence. They come from the same files, if
    /// there are files, but with other crops and degradations.
    pub(super) fn draw_separate(&self, count: usize) -> Pair<B> {
        let config = DataConfig {
            seed: !self.config.seed,
            batch: count,
            window: 4 * count,
            ..self.config.clone()
        };
        let only = (0..1).step_by(1);
        Self::new(config, self.source.clone(), only, &self.device).next()
    }

    fn load(&mut self) -> Pair<B> {
        let start = || {
            let (config, source) = (self.config.clone(), self.source.clone());
            batches(config, source, self.numbers.clone())
        };
        let batches = self.batches.get_or_insert_with(start);
        let batch = batches
            .recv()
            .expect("the data thread runs as long as its receiver");
        let DataConfig { batch: n, crop, .. } = self.config;
        let shape = [n, PICTURE_CHANNELS, crop, crop];
        let tensor = |values| Tensor::from_data(TensorData::new(values, shape), &self.device);
        Pair {
            input: tensor(batch.input) * 2.0 - 1.0,
            target: tensor(batch.target) * 2.0 - 1.0,
        }
    }
}
