//! Two-stage adversarial distillation, a stage at a time, on the CPU unless told otherwise:
//!
//! ```sh
//! cargo run --release --features train --example distill -- config nano > distill.json
//! for stage in vae teacher stage1 stage2; do
//!   cargo run --release --features train --example distill -- train $stage --config distill.json --folder runs/distill
//! done
//! ```
//!
//! Stopped at any moment, the same command goes on from the stage's last checkpoint. A stage's folder holds `log.jsonl`
//! with a line for every twenty steps, and the sample pictures that its config asks for; stage 2 leaves `model.safetensors`.
//!
//! With feature `collective`, `--replicas` shares each step's batches (`accumulate` in the config) among several devices:
//! `--features train,collective,cuda` and `--backend cuda --replicas 4` for four GPUs.

#[path = "common/training.rs"]
mod training;

use burn::backend::Autodiff;
use burn::prelude::DeviceOps;
use clap::{Parser, Subcommand, ValueEnum};
use gendr_pix::train::distill::{DistillConfig, Pass, distill};
use gendr_pix::{Backend, Storage, backend};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::path::PathBuf;
use training::{LOG_EVERY, Log, STYLE, Saving};

/// Distil a GenDR-Pix model.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print a config, to be changed at will.
    Config {
        /// Its sizes.
        preset: Preset,
    },
    /// Check a config and tell the sizes of its models, without training.
    Check {
        /// The config.
        config: PathBuf,
    },
    /// Train a stage.
    Train {
        /// Which one; each needs those before it.
        stage: StageName,
        /// The config.
        #[arg(long)]
        config: PathBuf,
        /// Folder of the distillation.
        #[arg(long)]
        folder: PathBuf,
        /// What to compute on; all but `flex` need the cargo feature of the same name.
        #[arg(long, value_parser = ["flex", "wgpu", "cuda"], default_value = "flex")]
        backend: String,
        /// Copies of the model that train together, a device each while there are devices; more than one need the cargo
        /// feature `collective`.
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

impl From<StageName> for Pass {
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
            let (pass, config) = (stage.into(), DistillConfig::read(&config)?);
            match backend.as_str() {
                "flex" => train::<backend::Flex>(pass, &config, folder, replicas)?,
                #[cfg(feature = "wgpu")]
                "wgpu" => train::<backend::Wgpu>(pass, &config, folder, replicas)?,
                #[cfg(feature = "cuda")]
                "cuda" => train::<backend::Cuda>(pass, &config, folder, replicas)?,
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

/// A device for each replica: all that the backend has, in turn.
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
    pass: Pass,
    config: &DistillConfig,
    folder: PathBuf,
    replicas: u16,
) -> Result<(), Box<dyn Error>> {
    let own = folder.join(pass.folder());
    let mut log = Log::new(&own);
    let trainer = match pass {
        Pass::Vae => &config.vae.trainer,
        Pass::Teacher => &config.teacher,
        Pass::Stage1 => &config.stage1.trainer,
        Pass::Stage2 => &config.stage2.trainer,
    };
    let bar = ProgressBar::new(trainer.learner.schedule.steps)
        .with_style(ProgressStyle::with_template(STYLE)?);
    let mut saving = Saving::start();
    let mut failed = None;
    let model = distill::<Autodiff<B>>(config, pass, &folder, &devices::<B>(replicas), |report| {
        bar.set_position(report.step);
        if report.step % LOG_EVERY == 0 {
            let terms = report.terms.iter();
            let terms: Vec<_> = terms.map(|(name, x)| format!("{name} {x:.4}")).collect();
            bar.set_message(terms.join(", "));
            failed = failed.take().or(log.write(report).err());
        }
        saving.due()
    })?;
    bar.finish();
    if let Some(model) = model {
        let path = own.join("model.safetensors");
        model.save(&path, Storage::F16)?;
        println!("{}", path.display());
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
