//! Training pairs: procedural pictures, degraded, cropped. Batch `n` is a function of the seed and `n` alone.

use super::degrade::Degradation;
use super::procedural;
use crate::planes::Planes;
use crate::resize;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Side of a procedural picture.
const PICTURE: usize = 512;
/// Pixels degraded around a crop, so that its borders see real neighbours.
const MARGIN: usize = 32;
/// Batches prepared ahead of the training step.
const AHEAD: usize = 8;

/// What a training batch is drawn from.
#[derive(Clone, Debug, Serialize)]
pub struct DataConfig {
    /// Seed of the pictures, crops and degradations.
    pub seed: u64,
    /// Pictures a batch.
    pub batch: usize,
    /// Side of a crop in output pixels.
    pub crop: usize,
    /// Pictures that a batch can draw from; the window moves on over an endless sequence.
    pub window: usize,
    /// Fresh pictures a batch: the speed of the window.
    pub fresh: f64,
    /// How pictures are degraded.
    pub degradation: Degradation,
}

/// Pictures of one batch, `[batch, 3, crop, crop]` in `0.0..=1.0`.
pub struct Batch {
    /// The degraded pictures, enlarged to output size by the plain resize.
    pub input: Vec<f32>,
    /// The originals.
    pub target: Vec<f32>,
}

/// Starts a thread that prepares batches `first..` in order.
pub fn batches(config: DataConfig, first: u64) -> Receiver<Batch> {
    let (sender, receiver) = sync_channel(AHEAD);
    thread::spawn(move || {
        let mut pictures = HashMap::new();
        for step in first.. {
            let window =
                window_start(&config, step)..window_start(&config, step) + config.window as u64;
            pictures.retain(|index, _| window.contains(index));
            let lacking: Vec<u64> = window.filter(|i| !pictures.contains_key(i)).collect();
            pictures.par_extend(lacking.into_par_iter().map(|index| {
                let seed = config.seed.wrapping_add(index);
                (index, Arc::new(procedural::picture(seed, PICTURE, PICTURE)))
            }));
            if sender.send(batch(&config, step, &pictures)).is_err() {
                return; // the trainer is gone
            }
        }
    });
    receiver
}

fn window_start(config: &DataConfig, step: u64) -> u64 {
    (step as f64 * config.fresh) as u64
}

fn batch(config: &DataConfig, step: u64, pictures: &HashMap<u64, Arc<Planes>>) -> Batch {
    let pairs: Vec<[Planes; 2]> = (0..config.batch)
        .into_par_iter()
        .map(|sample| {
            let stream = step * config.batch as u64 + sample as u64;
            let mut rng =
                SmallRng::seed_from_u64(config.seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let index = window_start(config, step) + rng.random_range(0..config.window as u64);
            pair(config, &pictures[&index], &mut rng)
        })
        .collect();
    let [input, target] = [0, 1].map(|part| {
        pairs
            .iter()
            .flat_map(|pair| &pair[part].data)
            .copied()
            .collect()
    });
    Batch { input, target }
}

/// Degrades a part of the picture and cuts the same window out of the enlarged input and the original.
fn pair(config: &DataConfig, picture: &Planes, rng: &mut SmallRng) -> [Planes; 2] {
    // Mostly x4, the scale that people use most; the others are learnt along.
    let scale = if rng.random_bool(0.9) {
        4.0
    } else {
        [1.0, 1.5, 2.0, 3.0][rng.random_range(0..4)]
    };
    let side = config.crop + 2 * MARGIN;
    // A side that every scale divides keeps the degraded picture aligned with the original.
    let side = side - side % 12;
    let [x, y] = [picture.width, picture.height].map(|n| rng.random_range(0..=n - side));
    let original = flip(picture.crop(x, y, side, side), rng);
    let degraded = config.degradation.apply(&original, scale, rng);
    let enlarged = resize::enlarge(&degraded, side, side);
    // Any phase of the 8x8 cells against the input's pixels can come up at inference (paddings); those of the
    // default paddings come up most.
    let step = if rng.random_bool(0.7) { 4 } else { 1 };
    let [x, y] = [(); 2].map(|()| rng.random_range(0..=(side - config.crop) / step) * step);
    [enlarged, original].map(|planes| planes.crop(x, y, config.crop, config.crop))
}

/// Mirrors and transposes at random: eight pictures out of one.
fn flip(planes: Planes, rng: &mut SmallRng) -> Planes {
    let [mirror_x, mirror_y, transpose] = [(); 3].map(|()| rng.random_bool(0.5));
    let n = planes.width;
    let mut out = planes.clone();
    for c in 0..planes.channels {
        let source = planes.plane(c);
        for (i, value) in out.plane_mut(c).iter_mut().enumerate() {
            let (mut x, mut y) = (i % n, i / n);
            if mirror_x {
                x = n - 1 - x;
            }
            if mirror_y {
                y = n - 1 - y;
            }
            if transpose {
                (x, y) = (y, x);
            }
            *value = source[y * n + x];
        }
    }
    out
}
