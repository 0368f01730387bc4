//! The pairs of a training, in order.

use super::stage::Pair;
use crate::backend::Backend;
use crate::restore::shuffle::PICTURE_CHANNELS;
use crate::train::data::{Batch, DataConfig, batches};
use crate::train::pictures::PictureSource;
use burn::tensor::{Tensor, TensorData};
use std::collections::VecDeque;
use std::iter::{self, StepBy};
use std::ops::Range;
use std::sync::mpsc::Receiver;

/// Pairs of some batches, prepared by a thread that starts with the first one asked for.
pub(super) struct Feed<B: Backend> {
    config: DataConfig,
    source: PictureSource,
    numbers: StepBy<Range<u64>>,
    batches: Option<Receiver<Batch>>,
    /// Looked at ahead of [`next`](Self::next).
    ahead: VecDeque<Pair<B>>,
    device: B::Device,
}

impl<B: Backend> Feed<B> {
    /// Of the batches of `numbers`; `source` is what [`DataConfig::open`] gave.
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

    /// The next pair.
    pub(super) fn next(&mut self) -> Pair<B> {
        let ahead = self.ahead.pop_front();
        ahead.unwrap_or_else(|| self.receive())
    }

    /// The next pairs, without end; [`next`](Self::next) gives them too.
    pub(super) fn look_ahead(&mut self) -> impl Iterator<Item = Pair<B>> {
        let mut seen = 0;
        iter::from_fn(move || {
            if seen == self.ahead.len() {
                let pair = self.receive();
                self.ahead.push_back(pair);
            }
            seen += 1;
            self.ahead.get(seen - 1).cloned()
        })
    }

    /// `count` pairs that stay apart: of the same pictures, if these are files, but other draws.
    pub(super) fn others(&self, count: usize) -> Pair<B> {
        let config = DataConfig {
            seed: !self.config.seed,
            batch: count,
            window: 4 * count,
            ..self.config.clone()
        };
        let only = (0..1).step_by(1);
        Self::new(config, self.source.clone(), only, &self.device).next()
    }

    fn receive(&mut self) -> Pair<B> {
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
