//! Two-stage adversarial distillation, a stage at a time, on the CPU:
//!
//! ```sh
//! cargo run --release --features train --example distill -- config nano > distill.json
//! for stage in vae teacher stage1 stage2; do
//!   cargo run --release --features train --example distill -- train $stage --config distill.json --folder runs/distill
//! done
//! ```
//!
//! Stopped at any moment, the same command goes on from the stage's last checkpoint. A stage's folder holds `log.jsonl`
//! with a line for every hundred steps, and the sample pictures that its config asks for; stage 2 leaves `model.safetensors`.

#[path = "common/training.rs"]
mod training;

use burn::backend::Autodiff;
use clap::{Parser, Subcommand, ValueEnum};
use gendr_pix::train::distill::{DistillConfig, Pass, distill};
use gendr_pix::{Storage, backend};
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
        } => train(stage.into(), &DistillConfig::read(&config)?, folder)?,
    }
    Ok(())
}

fn check(config: &DistillConfig) -> Result<(), Box<dyn Error>> {
    type B = backend::Default;
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

fn train(pass: Pass, config: &DistillConfig, folder: PathBuf) -> Result<(), Box<dyn Error>> {
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
    let model = distill::<Autodiff<backend::Default>>(
        config,
        pass,
        &folder,
        &Default::default(),
        |report| {
            bar.set_position(report.step);
            if report.step % LOG_EVERY == 0 {
                let terms = report.terms.iter();
                let terms: Vec<_> = terms.map(|(name, x)| format!("{name} {x:.4}")).collect();
                bar.set_message(terms.join(", "));
                failed = failed.take().or(log.write(report).err());
            }
            saving.due()
        },
    )?;
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
