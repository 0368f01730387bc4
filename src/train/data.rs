//! Training pairs: pictures, degraded, cropped. Batch `n` is a function of the seed and `n` alone.

use super::degrade::Degrade;
use super::pictures::{PictureSource, Pictures, stream};
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

/// Pixels degraded around a crop, so that its borders see real neighbours.
const MARGIN: usize = 32;
/// Batches prepared ahead of the training step.
const AHEAD: usize = 8;

/// What a training batch is drawn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Where pictures come from. Default: the procedural generator.
    #[serde(default)]
    pub pictures: Pictures,
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
    pub degradation: Degrade,
}

impl DataConfig {
    /// Checks all settings and gets the pictures ready.
    ///
    /// # Errors
    ///
    /// - [`Error::Config`] when a setting cannot be used.
    /// - Those of [`Pictures::open`].
    pub fn open(&self) -> Result<PictureSource> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        for (field, value) in [
            ("batch", self.batch),
            ("crop", self.crop),
            ("window", self.window),
        ] {
            if value == 0 {
                return fail(field, "must be one or more".to_owned());
            }
        }
        if !(self.fresh >= 0.0 && self.fresh.is_finite()) {
            return fail("fresh", format!("{} is not zero or more", self.fresh));
        }
        self.degradation.validate()?;
        self.pictures.open(self.part())
    }

    /// Side of the part of a picture that is degraded for a crop.
    fn part(&self) -> usize {
        let side = self.crop.saturating_add(2 * MARGIN);
        // A side that every scale divides keeps the degraded picture aligned with the original.
        side - side % 12
    }
}

/// Pictures of one batch, `[batch, 3, crop, crop]` in `0.0..=1.0`.
pub struct Batch {
    /// The degraded pictures, enlarged to output size by the plain resize.
    pub input: Vec<f32>,
    /// The originals.
    pub target: Vec<f32>,
}

/// Starts a thread that prepares the batches of the rising `numbers`, of the pictures that [`DataConfig::open`] gave.
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
            let lacking: Vec<u64> = window.filter(|i| !pictures.contains_key(i)).collect();
            pictures.par_extend(
                lacking
                    .into_par_iter()
                    .map(|index| (index, Arc::new(source.picture(config.seed, index)))),
            );
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
            let mut rng = stream(config.seed, step * config.batch as u64 + sample as u64);
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
    let side = config.part();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::degrade::{Degradation, TwoOrder};
    use image::{Rgb, RgbImage};

    fn config() -> DataConfig {
        DataConfig {
            pictures: Pictures::Procedural,
            seed: 5,
            batch: 3,
            crop: 64,
            window: 4,
            fresh: 0.5,
            degradation: Degradation::default().into(),
        }
    }

    fn sum(values: &[f32]) -> f64 {
        values.iter().map(|&v| f64::from(v)).sum()
    }

    /// What models were trained on stays what it was: sums of the batches that this seed gives.
    #[test]
    fn the_procedural_stream_stays_what_it_was() {
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
            // Another machine's sines may round a few values otherwise.
            for (found, expected) in [(&batch.input, input), (&batch.target, target)] {
                let found = sum(found);
                assert!(
                    (found - expected).abs() < 0.1,
                    "{step}: {found}, not {expected}"
                );
            }
            // A batch is the same whatever comes before it.
            if step % 2 == 1 {
                let again = odd.recv().unwrap();
                assert_eq!((batch.input, batch.target), (again.input, again.target));
            }
        }
    }

    #[test]
    fn a_folder_gives_batches() {
        let folder = tempfile::tempdir().unwrap();
        for (name, red) in [("a.png", 51), ("b.png", 204)] {
            let picture = RgbImage::from_pixel(150, 130, Rgb([red, red, red]));
            picture.save(folder.path().join(name)).unwrap();
        }
        let config = DataConfig {
            pictures: Pictures::Folder(folder.path().to_owned()),
            degradation: TwoOrder::mild().into(),
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
    fn settings_that_cannot_be_used_are_refused() {
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
                c.degradation = Degradation {
                    jpeg: 2.0,
                    ..Degradation::default()
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
