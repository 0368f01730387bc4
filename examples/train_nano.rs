//! Trains the bundled model on the CPU:
//!
//! ```sh
//! cargo run --release --features train --example train_nano -- --folder runs/nano --out assets/nano.safetensors
//! ```
//!
//! If the training is stopped, the same command resumes it from the last checkpoint. Every twenty
//! steps, a line is added to `log.jsonl` in the folder.

#[path = "common/training.rs"]
mod training;

use burn::backend::Autodiff;
use clap::Parser;
use gendr_pix::train::{NanoConfig, NanoTrainer};
use gendr_pix::{Storage, backend};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::path::PathBuf;
use training::{CheckpointTimer, LOG_EVERY, Log, STYLE};

/// Train the bundled nano model.
#[derive(Parser)]
struct Args {
    /// Folder for the checkpoint and the log.
    #[arg(long, default_value = "runs/nano")]
    folder: PathBuf,
    /// Weights file to write.
    #[arg(long)]
    out: PathBuf,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of training steps [default: the recipe's].
    #[arg(long)]
    steps: Option<u64>,
    /// Folder of photos to train on in addition to procedural pictures, as in the second part of
    /// the recipe.
    #[arg(long)]
    photos: Option<PathBuf>,
    /// Weights file to start from if the folder has no checkpoint yet.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Write the weights of the last checkpoint without training.
    #[arg(long)]
    export: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let mut config = match args.photos {
        Some(photos) => NanoConfig::photos(photos, args.seed),
        None => NanoConfig::recipe(args.seed),
    };
    let steps = args.steps.unwrap_or(config.learner.schedule.steps);
    config.learner.schedule.steps = steps;
    let mut trainer =
        NanoTrainer::<Autodiff<backend::Cpu>>::new(config, &args.folder, &Default::default())?;
    if let Some(from) = &args.from
        && trainer.steps_done() == 0
    {
        trainer.start_from(from)?;
    }

    if !args.export {
        let mut log = Log::new(&args.folder);
        let bar = ProgressBar::new(steps).with_style(ProgressStyle::with_template(STYLE)?);
        bar.set_position(trainer.steps_done());
        bar.reset_eta();
        let mut timer = CheckpointTimer::start();
        let (mut errors, mut fourier) = (Vec::new(), Vec::new());
        let mean = |values: &mut Vec<f64>| -> Option<f64> {
            let count = values.len();
            (count > 0).then(|| values.drain(..).sum::<f64>() / count as f64)
        };
        while trainer.steps_done() < steps {
            let report = trainer.step()?;
            errors.extend(report.relative_l1);
            fourier.extend(report.fourier);
            if report.step % LOG_EVERY == 0 {
                let (error, fourier) = (mean(&mut errors), mean(&mut fourier));
                if let Some(error) = error {
                    bar.set_message(format!("error {error:.4} of bicubic's"));
                }
                let line = serde_json::json!({ "step": report.step, "relative_l1": error, "fourier": fourier, "rate": report.rate });
                log.write(&line)?;
            }
            if timer.due() {
                trainer.checkpoint()?;
            }
            bar.inc(1);
        }
        trainer.checkpoint()?;
        bar.finish();
    }
    trainer.model()?.save(&args.out, Storage::F16)?;
    println!(
        "{}: weights after {} steps",
        args.out.display(),
        trainer.steps_done()
    );
    Ok(())
}
