//! Two-stage adversarial distillation, one training stage at a time, on the CPU by default:
//!
//! ```sh
//! cargo run --release --features train --example distill -- config nano > distill.json
//! for stage in vae teacher stage1 stage2; do
//!   cargo run --release --features train --example distill -- train $stage --config distill.json --folder runs/distill
//! done
//! ```
//!
//! If a training run is stopped, the same command resumes it from the last checkpoint of the stage.
//! The folder of a stage contains `log.jsonl`, with a line for every twenty steps, and the sample
//! sheets that the config requests. Stage 2 writes `model.safetensors`.
//!
//! With the feature `collective`, `--replicas` divides the batches of each step (`accumulate` in
//! the config) among several devices. For four GPUs, use `--features train,collective,cuda` and
//! `--backend cuda --replicas 4`.

#[path = "common/training.rs"]
mod training;

use burn::backend::Autodiff;
use burn::prelude::DeviceOps;
use clap::{Parser, Subcommand, ValueEnum};
use gendr_pix::train::distill::{DistillConfig, TrainingStage, distill};
use gendr_pix::{Backend, Storage, backend};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::path::PathBuf;
use training::{CheckpointTimer, LOG_EVERY, Log, STYLE};

/// Distil a GenDR-Pix model.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print a config as JSON, to be edited.
    Config {
        /// Sizes of the models.
        preset: Preset,
    },
    /// Check a config and print the sizes of its models, without training.
    Check {
        /// Config file.
        config: PathBuf,
    },
    /// Train one stage.
    Train {
        /// Stage to train. Each stage needs those before it.
        stage: StageName,
        /// Config file.
        #[arg(long)]
        config: PathBuf,
        /// Folder of the distillation, with a subfolder for each stage.
        #[arg(long)]
        folder: PathBuf,
        /// Backend to compute on; each one except `flex` needs the cargo feature of the same name.
        #[arg(long, value_parser = ["flex", "wgpu", "cuda"], default_value = "flex")]
        backend: String,
        /// Number of replicas of the model that train together, distributed over the devices. Two
        /// or more need the cargo feature `collective`.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        replicas: u16,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Preset {
    Nano,
    Sd21,
}

#[derive(Clone, Copy, ValueEnum)]
enum StageName {
    Vae,
    Teacher,
    Stage1,
    Stage2,
}

impl From<StageName> for TrainingStage {
    fn from(name: StageName) -> Self {
        match name {
            StageName::Vae => Self::Vae,
            StageName::Teacher => Self::Teacher,
            StageName::Stage1 => Self::Stage1,
            StageName::Stage2 => Self::Stage2,
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    match Args::parse().command {
        Command::Config { preset } => {
            let config = match preset {
                Preset::Nano => DistillConfig::nano(),
                Preset::Sd21 => DistillConfig::sd21(),
            };
            println!("{}", serde_json::to_string_pretty(&config)?);
        }
        Command::Check { config } => check(&DistillConfig::read(&config)?)?,
        Command::Train {
            stage,
            config,
            folder,
            backend,
            replicas,
        } => {
            let (stage, config) = (stage.into(), DistillConfig::read(&config)?);
            match backend.as_str() {
                "flex" => train::<backend::Flex>(stage, &config, folder, replicas)?,
                #[cfg(feature = "wgpu")]
                "wgpu" => train::<backend::Wgpu>(stage, &config, folder, replicas)?,
                #[cfg(feature = "cuda")]
                "cuda" => train::<backend::Cuda>(stage, &config, folder, replicas)?,
                name => {
                    let missing =
                        format!("backend `{name}` is not built in: build with `--features {name}`");
                    return Err(missing.into());
                }
            }
        }
    }
    Ok(())
}

/// Returns a device for each replica. The replicas are distributed over all devices of the backend.
fn devices<B: Backend>(replicas: u16) -> Vec<B::Device> {
    let default = B::Device::default().to_id();
    let all = B::device_count(default.type_id).max(1) as u16;
    let device = |replica| {
        let mut id = default;
        id.index_id = replica % all;
        B::Device::from_id(id)
    };
    (0..replicas).map(device).collect()
}

fn check(config: &DistillConfig) -> Result<(), Box<dyn Error>> {
    type B = backend::Cpu;
    let device = Default::default();
    let vae = config.gendr.vae.init::<B>(&device)?;
    println!("VAE: {} parameters", vae.parameters());
    for (name, unet) in [
        ("GenDR", &config.gendr.unet),
        ("GenDR-Adc", &config.adc.unet),
        ("GenDR-Pix", &config.pix.unet),
    ] {
        let parameters = unet.init::<B>(&device)?.parameters();
        println!("{name}'s UNet: {parameters} parameters");
    }
    Ok(())
}

fn train<B: Backend>(
    stage: TrainingStage,
    config: &DistillConfig,
    folder: PathBuf,
    replicas: u16,
) -> Result<(), Box<dyn Error>> {
    let stage_folder = folder.join(stage.folder());
    let mut log = Log::new(&stage_folder);
    let trainer = match stage {
        TrainingStage::Vae => &config.vae.trainer,
        TrainingStage::Teacher => &config.teacher,
        TrainingStage::Stage1 => &config.stage1.trainer,
        TrainingStage::Stage2 => &config.stage2.trainer,
    };
    let bar = ProgressBar::new(trainer.learner.schedule.steps)
        .with_style(ProgressStyle::with_template(STYLE)?);
    let mut timer = CheckpointTimer::start();
    let mut log_error = None;
    let model =
        distill::<Autodiff<B>>(config, stage, &folder, &devices::<B>(replicas), |report| {
            bar.set_position(report.step);
            if report.step % LOG_EVERY == 0 {
                let terms = report.terms.iter();
                let terms: Vec<_> = terms.map(|(name, x)| format!("{name} {x:.4}")).collect();
                bar.set_message(terms.join(", "));
                log_error = log_error.take().or(log.write(report).err());
            }
            timer.due()
        })?;
    bar.finish();
    if let Some(model) = model {
        let path = stage_folder.join("model.safetensors");
        model.save(&path, Storage::F16)?;
        println!("{}", path.display());
    }
    match log_error {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
