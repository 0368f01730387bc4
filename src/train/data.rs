//! Batches of training data: pictures are degraded and cropped. Batch `n` depends on the settings,
//! the seed and `n` alone.

use super::degrade::Degradation;
use super::pictures::{PictureSource, Pictures};
use super::random::rng_stream;
use crate::error::{Error, Result};
use crate::pixels::planes::Planes;
use crate::pixels::resize;
use rand::Rng;
use rand::rngs::SmallRng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Pixels around a crop that are degraded with it, so that its borders have real neighbours.
const MARGIN: usize = 32;
/// Number of batches prepared in advance.
const AHEAD: usize = 8;

/// The training pictures, and how batches are drawn from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Source of the pictures. Default: the procedural generator.
    #[serde(default)]
    pub pictures: Pictures,
    /// Seed of pictures, crops and degradations.
    pub seed: u64,
    /// Number of pictures in a batch.
    pub batch: usize,
    /// Side of a crop, in output pixels.
    pub crop: usize,
    /// Number of pictures that a batch can draw from. This window slides over an endless sequence
    /// of pictures.
    pub window: usize,
    /// Number of pictures by which the window moves on for each batch.
    pub fresh: f64,
    /// How pictures are degraded.
    pub degradation: Degradation,
}

impl DataConfig {
    /// Checks all settings and opens the source of pictures.
    ///
    /// # Errors
    ///
    /// - [`Error::Config`] if a setting is invalid.
    /// - The errors of [`Pictures::open`].
    pub fn open(&self) -> Result<PictureSource> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        for (field, value) in [
            ("batch", self.batch),
            ("crop", self.crop),
            ("window", self.window),
        ] {
            if value == 0 {
                return fail(field, "must be at least 1".to_owned());
            }
        }
        if !(self.fresh >= 0.0 && self.fresh.is_finite()) {
            return fail(
                "fresh",
                format!("{} is not a finite number of at least 0", self.fresh),
            );
        }
        self.degradation.validate()?;
        self.pictures.open(self.degraded_side())
    }

    /// Returns the side of the region of a picture that is degraded for a crop.
    fn degraded_side(&self) -> usize {
        let side = self.crop.saturating_add(2 * MARGIN);
        // Every scale divides this side, which keeps the degraded picture aligned with the
        // original.
        side - side % 12
    }
}

/// Pictures of one batch, `[batch, 3, crop, crop]` in `0.0..=1.0`.
#[derive(Debug)]
pub struct Batch {
    /// The degraded pictures, enlarged to output size by bicubic interpolation.
    pub input: Vec<f32>,
    /// The originals.
    pub target: Vec<f32>,
}

/// Starts a thread that prepares the batches with the increasing `numbers`. `source` is the result
/// of [`DataConfig::open`].
pub fn batches(
    config: DataConfig,
    source: PictureSource,
    numbers: impl Iterator<Item = u64> + Send + 'static,
) -> Receiver<Batch> {
    let (sender, receiver) = sync_channel(AHEAD);
    thread::spawn(move || {
        let mut pictures = HashMap::new();
        for step in numbers {
            let window =
                window_start(&config, step)..window_start(&config, step) + config.window as u64;
            pictures.retain(|index, _| window.contains(index));
            let missing: Vec<u64> = window.filter(|i| !pictures.contains_key(i)).collect();
            pictures.par_extend(
                missing
                    .into_par_iter()
                    .map(|index| (index, Arc::new(source.picture(config.seed, index)))),
            );
            if sender.send(batch(&config, step, &pictures)).is_err() {
                return; // the receiver was dropped
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
            let mut rng = rng_stream(config.seed, step * config.batch as u64 + sample as u64);
            let index = window_start(config, step) + rng.random_range(0..config.window as u64);
            draw_pair(config, &pictures[&index], &mut rng)
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

/// Degrades a region of the picture, and crops the enlarged input and the original at the same
/// position.
fn draw_pair(config: &DataConfig, picture: &Planes, rng: &mut SmallRng) -> [Planes; 2] {
    // Mostly x4, the most common scale. The others get a small share.
    let scale = if rng.random_bool(0.9) {
        4.0
    } else {
        [1.0, 1.5, 2.0, 3.0][rng.random_range(0..4)]
    };
    let side = config.degraded_side();
    let [x, y] = [picture.width, picture.height].map(|n| rng.random_range(0..=n - side));
    let original = flip(picture.crop(x, y, side, side), rng);
    let degraded = config.degradation.apply(&original, scale, rng);
    let enlarged = resize::enlarge(&degraded, side, side);
    // At inference, paddings can shift the 8x8 cells to any position relative to the input's
    // pixels. The shifts of the default paddings are the most common.
    let step = if rng.random_bool(0.7) { 4 } else { 1 };
    let [x, y] = [(); 2].map(|()| rng.random_range(0..=(side - config.crop) / step) * step);
    [enlarged, original].map(|planes| planes.crop(x, y, config.crop, config.crop))
}

/// Mirrors and transposes at random: each picture has eight variants.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::degrade::{FirstOrderDegradation, SecondOrderDegradation};
    use image::{Rgb, RgbImage};

    fn config() -> DataConfig {
        DataConfig {
            pictures: Pictures::Procedural,
            seed: 5,
            batch: 3,
            crop: 64,
            window: 4,
            fresh: 0.5,
            degradation: FirstOrderDegradation::default().into(),
        }
    }

    fn sum(values: &[f32]) -> f64 {
        values.iter().map(|&v| f64::from(v)).sum()
    }

    /// The training data of existing models must not change. These are sums of the batches for this
    /// seed.
    #[test]
    fn procedural_batches_are_unchanged() {
        let source = config().open().unwrap();
        let receiver = batches(config(), source.clone(), 0..);
        let odd = batches(config(), source, (1..).step_by(2));
        for (step, [input, target]) in [
            [25_081.727, 25_128.944],
            [20_270.845, 20_386.255],
            [12_765.437, 12_775.943],
            [10_750.972, 10_732.419],
        ]
        .into_iter()
        .enumerate()
        {
            let batch = receiver.recv().unwrap();
            // The sine function of another machine may round a few values differently.
            for (found, expected) in [(&batch.input, input), (&batch.target, target)] {
                let found = sum(found);
                assert!(
                    (found - expected).abs() < 0.1,
                    "{step}: {found}, not {expected}"
                );
            }
            // A batch does not depend on the batches before it.
            if step % 2 == 1 {
                let again = odd.recv().unwrap();
                assert_eq!((batch.input, batch.target), (again.input, again.target));
            }
        }
    }

    #[test]
    fn batches_come_from_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        for (name, red) in [("a.png", 51), ("b.png", 204)] {
            let picture = RgbImage::from_pixel(150, 130, Rgb([red, red, red]));
            picture.save(folder.path().join(name)).unwrap();
        }
        let config = DataConfig {
            pictures: Pictures::Folder(folder.path().to_owned()),
            degradation: SecondOrderDegradation::mild().into(),
            ..config()
        };
        let source = config.open().unwrap();
        assert_eq!((source.files(), source.skipped().len()), (2, 0));
        let draw = || {
            let receiver = batches(config.clone(), source.clone(), 0..);
            let batches: Vec<_> = (0..3).map(|_| receiver.recv().unwrap()).collect();
            batches.into_iter().map(|batch| (batch.input, batch.target))
        };
        for (batch, again) in draw().zip(draw()) {
            assert_eq!(batch, again);
            let (input, target) = batch;
            assert_eq!((input.len(), target.len()), (3 * 3 * 64 * 64, input.len()));
            assert!(target.iter().all(|&v| v == 0.2 || v == 0.8));
        }
    }

    #[test]
    fn invalid_settings_are_refused() {
        let fails = |change: fn(&mut DataConfig), field: &str| {
            let mut config = config();
            change(&mut config);
            let error = config.open().unwrap_err().to_string();
            assert!(error.contains(&format!("config `{field}`")), "{error}");
        };
        fails(|c| c.batch = 0, "batch");
        fails(|c| c.crop = 0, "crop");
        fails(|c| c.crop = 512, "crop");
        fails(|c| c.crop = usize::MAX, "crop");
        fails(|c| c.window = 0, "window");
        fails(|c| c.fresh = f64::NAN, "fresh");
        fails(
            |c| {
                c.degradation = FirstOrderDegradation {
                    jpeg: 2.0,
                    ..FirstOrderDegradation::default()
                }
                .into()
            },
            "jpeg",
        );
        let text = serde_json::to_string(&config()).unwrap();
        assert_eq!(serde_json::from_str::<DataConfig>(&text).unwrap(), config());
        let wrong = text.replacen("\"crop\"", "\"crops\"", 1);
        let error = serde_json::from_str::<DataConfig>(&wrong).unwrap_err();
        assert!(
            error.to_string().contains("unknown field `crops`"),
            "{error}"
        );
    }
}
