//! Measures what the VAE costs, which is the paper's main claim. Compares GenDR with guidance,
//! GenDR-Adc with guidance, and GenDR-Pix with PadCFG and without guidance, all with random
//! weights:
//!
//! ```sh
//! cargo run --release --features latent --example efficiency -- --model sd21 --size 512x512 --json table.json
//! ```
//!
//! Each model runs in a process of its own, so that the peak memory of each is known. Times are for
//! whole pictures (resize, passes, conversion), after one picture that is not timed.

// Without a backend the program only reports that.
#![cfg_attr(
    not(any(feature = "flex", feature = "wgpu", feature = "cuda")),
    allow(unused)
)]

mod common;

use burn::tensor::{Distribution, Tensor};
use clap::{Parser, ValueEnum};
use common::backend::{BackendArgs, Measured};
use common::{median_seconds, peak_memory, picture, size};
use gendr_pix::latent::{GenDr, GenDrAdc, LatentConfig};
use gendr_pix::unet::Macs;
use gendr_pix::{GenDrPix, GenDrPixConfig, Padding, Upscale};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// Any guidance scale that runs both prompts.
const GUIDANCE: f64 = 1.5;
/// Output side divided by input side.
const SCALE: u32 = 4;

/// Compare time, memory and multiply-accumulates of the paper's models.
#[derive(Parser)]
struct Args {
    /// Size of UNet and VAE.
    #[arg(long, value_enum, default_value_t = Size::Nano)]
    model: Size,
    /// Size of the output. Both sides must be multiples of 8. The sides of the input are a quarter
    /// of them.
    #[arg(long, default_value = "512x512", value_parser = size)]
    size: (u32, u32),
    #[command(flatten)]
    backend: BackendArgs,
    /// Number of timed pictures per model, after one that is not timed. The median is reported.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// JSON file to write the figures to, with one object per model.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure one subject and print its figures as JSON. The program runs itself with this option.
    #[arg(long, value_enum, hide = true)]
    only: Option<Subject>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    /// Stable Diffusion 2.1's UNet and VAE16.
    Sd21,
    /// The bundled model's UNet and VAE16 with an eighth of its width.
    Nano,
}

/// What is measured: one of the models, or a part of GenDR.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Subject {
    Gendr,
    Adc,
    PixPadcfg,
    Pix,
    Encoder,
    Unet,
    Decoder,
}

const MODELS: [Subject; 4] = [
    Subject::Gendr,
    Subject::Adc,
    Subject::PixPadcfg,
    Subject::Pix,
];
const PARTS: [Subject; 3] = [Subject::Encoder, Subject::Unet, Subject::Decoder];

/// The measurements of a subject.
#[derive(Serialize, Deserialize)]
struct Figures {
    name: String,
    /// Median over the runs.
    seconds: f64,
    /// Peak resident size of the process, or the memory that the pools of a GPU have reserved.
    peak_bytes: Option<u64>,
    weight_bytes: u64,
    /// Multiply-accumulates of a picture, including the matrix products of attention.
    macs: u64,
}

impl Figures {
    /// Returns the peak memory without the weights, in bytes.
    fn above_weights(&self) -> Option<f64> {
        let peak = self.peak_bytes?;
        Some(peak as f64 - self.weight_bytes as f64)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let (width, height) = args.size;
    if width == 0 || height == 0 || width % 8 != 0 || height % 8 != 0 {
        return Err(format!("{width}x{height}: sides must be multiples of 8").into());
    }
    if args.backend.backend == "flex" && args.backend.precision != "f32" {
        return Err("models with a VAE support only f32 on `flex`".into());
    }
    let Some(subject) = args.only else {
        return tables(&args);
    };
    let figures: Result<Figures, Box<dyn Error>> =
        on_backend!(&args.backend, measure(subject, &args));
    println!("{}", serde_json::to_string(&figures?)?);
    Ok(())
}

/// Measures each subject in a process of its own, and prints the tables.
fn tables(args: &Args) -> Result<(), Box<dyn Error>> {
    let measured = |subject: Subject| -> Result<Figures, Box<dyn Error>> {
        let name = subject
            .to_possible_value()
            .ok_or("every subject has a name")?;
        let child = Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .args(["--only", name.get_name()])
            .stderr(std::process::Stdio::inherit())
            .output()?;
        if !child.status.success() {
            return Err(format!("{}: {}", name.get_name(), child.status).into());
        }
        Ok(serde_json::from_slice(&child.stdout)?)
    };
    // Created before the measurements, so that a path that cannot be written fails at once.
    let json = args.json.as_ref().map(|path| {
        let file = std::fs::File::create(path);
        file.map_err(|error| format!("{}: {error}", path.display()))
    });
    let json = json.transpose()?;
    let models = MODELS.into_iter().map(measured);
    let models = models.collect::<Result<Vec<_>, _>>()?;
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &models)?;
    }
    let first = &models[0];
    let rows = MODELS.iter().zip(&models).map(|(&subject, figures)| {
        let above_weights = figures.above_weights().zip(first.above_weights());
        let paper = |subject| macs(subject, args).paper() as f64;
        vec![
            figures.name.clone(),
            format!("{:.3}", figures.seconds),
            format!("{:.2}x", first.seconds / figures.seconds),
            gigabytes(figures.peak_bytes.map(|bytes| bytes as f64)),
            gigabytes(Some(figures.weight_bytes as f64)),
            gigabytes(figures.above_weights()),
            above_weights.map_or("-".into(), |(bytes, first)| {
                format!("{:.0} %", 100.0 * (1.0 - bytes / first))
            }),
            giga(figures.macs as f64),
            giga(paper(subject)),
            format!("{:.2}x", paper(Subject::Gendr) / paper(subject)),
        ]
    });
    let head = [
        "model",
        "seconds",
        "faster",
        "peak GB",
        "weights GB",
        "above GB",
        "less",
        "GMACs",
        "GMACs, paper",
        "fewer",
    ];
    let (width, height) = args.size;
    println!(
        "{width}x{height} on {} in {}, median of {}; `above` is the peak memory without the weights\n",
        args.backend.backend, args.backend.precision, args.runs
    );
    print_table(&head, rows.collect());

    let parts = PARTS.into_iter().map(measured);
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let rows = parts.iter().map(|figures| {
        vec![
            figures.name.clone(),
            format!("{:.3}", figures.seconds),
            giga(figures.macs as f64),
            giga(2.0 * figures.macs as f64 / figures.seconds),
        ]
    });
    println!();
    print_table(&["part", "seconds", "GMACs", "GFLOP/s"], rows.collect());
    Ok(())
}

fn giga(count: f64) -> String {
    format!("{:.1}", count / 1e9)
}

fn gigabytes(bytes: Option<f64>) -> String {
    bytes.map_or("-".into(), |bytes| format!("{:.2}", bytes / 1e9))
}

/// Prints a Markdown table.
fn print_table(head: &[&str], rows: Vec<Vec<String>>) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let line = |cells: Vec<&str>| {
        let padded = cells.into_iter().enumerate().map(|(i, cell)| match i {
            0 => format!("{cell:<0$}", width(i)),
            _ => format!("{cell:>0$}", width(i)),
        });
        println!("| {} |", padded.collect::<Vec<_>>().join(" | "));
    };
    line(head.to_vec());
    let rule = (0..head.len()).map(|i| match i {
        0 => "-".repeat(width(i)),
        _ => format!("{}:", "-".repeat(width(i) - 1)),
    });
    let rule: Vec<String> = rule.collect();
    line(rule.iter().map(String::as_str).collect());
    for row in &rows {
        line(row.iter().map(String::as_str).collect());
    }
}

/// Returns the configs of GenDR, GenDR-Adc and GenDR-Pix, and the number of tokens of a prompt.
fn configs(size: Size) -> (LatentConfig, LatentConfig, GenDrPixConfig, usize) {
    match size {
        Size::Sd21 => (
            LatentConfig::gendr_sd21(),
            LatentConfig::adc_sd21(),
            GenDrPixConfig::sd21(),
            77,
        ),
        Size::Nano => (
            LatentConfig::gendr_nano(),
            LatentConfig::adc_nano(),
            GenDrPixConfig::nano(),
            4,
        ),
    }
}

/// Counts the multiply-accumulates of a picture.
fn macs(subject: Subject, args: &Args) -> Macs {
    let (gendr, adc, pix, tokens) = configs(args.model);
    let (width, height) = (args.size.0 as usize, args.size.1 as usize);
    let [h, w] = [height, width].map(|side| side / gendr.vae.factor());
    let parts = match subject {
        Subject::Gendr => vec![
            gendr.vae.encoder_macs(height, width),
            gendr.unet.macs(h, w, tokens),
            gendr.unet.macs(h, w, tokens),
            gendr.vae.decoder_macs(h, w),
        ],
        Subject::Adc => vec![
            adc.unet.macs(h, w, tokens),
            adc.unet.macs(h, w, tokens),
            adc.vae.decoder_macs(h, w),
        ],
        // Padding adds one cell to each axis.
        Subject::PixPadcfg => vec![pix.unet.macs(h + 1, w + 1, tokens); 2],
        Subject::Pix => vec![pix.unet.macs(h + 1, w + 1, tokens)],
        Subject::Encoder => vec![gendr.vae.encoder_macs(height, width)],
        Subject::Unet => vec![gendr.unet.macs(h, w, tokens)],
        Subject::Decoder => vec![gendr.vae.decoder_macs(h, w)],
    };
    let sum = |count: fn(&Macs) -> u64| parts.iter().map(count).sum();
    Macs {
        layers: sum(|macs| macs.layers),
        folded: sum(|macs| macs.folded),
        attention: sum(|macs| macs.attention),
    }
}

/// Measures a subject in this process.
fn measure<B: Measured>(subject: Subject, args: &Args) -> Result<Figures, Box<dyn Error>> {
    let device = B::Device::default();
    let (gendr, adc, pix, tokens) = configs(args.model);
    let (width, height) = args.size;
    let picture = picture(width / SCALE, height / SCALE);
    let guided = Upscale::new().scale(f64::from(SCALE)).guidance(GUIDANCE);
    let unguided = guided.clone().guidance(1.0);
    let centred = |options: &Upscale| options.clone().ensemble(vec![Padding::CENTRED]);
    let random = |channels: usize, divisor: u32| {
        let shape = [
            1,
            channels,
            (height / divisor) as usize,
            (width / divisor) as usize,
        ];
        Tensor::<B, 4>::random(shape, Distribution::Uniform(-1.0, 1.0), &device)
    };
    let factor = gendr.vae.factor() as u32;

    type Run = Box<dyn Fn() -> gendr_pix::Result<()>>;
    let tensor = |run: Box<dyn Fn() -> Tensor<B, 4>>| -> Run {
        Box::new(move || {
            run().into_data();
            Ok(())
        })
    };
    let (name, parameters, run): (_, _, Run) = match subject {
        Subject::Gendr => {
            let halves = gendr.vae.init::<B>(&device)?.parameters();
            let parameters = halves + gendr.unet.init::<B>(&device)?.parameters();
            let model = GenDr::<B>::new(gendr, tokens, &device)?;
            let run = move || model.upscale_with(&picture, &guided).map(|_| ());
            ("GenDR, guidance", parameters, Box::new(run))
        }
        Subject::Adc => {
            let decoder = adc.vae.init_decoder::<B>(&device)?.parameters();
            let parameters = decoder + adc.unet.init::<B>(&device)?.parameters();
            let model = GenDrAdc::<B>::new(adc, tokens, &device)?;
            let run = move || model.upscale_with(&picture, &guided).map(|_| ());
            ("GenDR-Adc, guidance", parameters, Box::new(run))
        }
        Subject::PixPadcfg | Subject::Pix => {
            let parameters = pix.unet.init::<B>(&device)?.parameters();
            let model = GenDrPix::<B>::new(pix, tokens, &device)?;
            let (name, options) = match subject {
                Subject::Pix => ("GenDR-Pix, no guidance", centred(&unguided)),
                _ => ("GenDR-Pix, PadCFG", centred(&guided)),
            };
            let run = move || model.upscale_with(&picture, &options).map(|_| ());
            (name, parameters, Box::new(run))
        }
        Subject::Encoder => {
            let encoder = gendr.vae.init_encoder::<B>(&device)?;
            let x = random(3, 1);
            let parameters = encoder.parameters();
            let run = move || encoder.to_latent(x.clone(), None);
            ("VAE encoder", parameters, tensor(Box::new(run)))
        }
        Subject::Unet => {
            let unet = gendr.unet.init::<B>(&device)?;
            let x = random(gendr.unet.in_channels, factor);
            let prompt = Tensor::zeros([1, tokens, gendr.unet.cross_attention_dim], &device);
            let parameters = unet.parameters();
            let conditioning = unet.condition(gendr.timestep, prompt);
            let run = move || unet.forward(x.clone(), &conditioning);
            ("UNet, one pass", parameters, tensor(Box::new(run)))
        }
        Subject::Decoder => {
            let decoder = gendr.vae.init_decoder::<B>(&device)?;
            let x = random(gendr.vae.latent_channels, factor);
            let parameters = decoder.parameters();
            let run = move || decoder.to_picture(x.clone(), None);
            ("VAE decoder", parameters, tensor(Box::new(run)))
        }
    };
    run()?;
    let seconds = median_seconds(args.runs as usize, run)?.ok_or("there is at least one run")?;
    let on_cpu = args.backend.backend == "flex";
    Ok(Figures {
        name: name.to_owned(),
        seconds,
        peak_bytes: match on_cpu {
            true => peak_memory(),
            false => B::device_memory(&device),
        },
        weight_bytes: (parameters * size_of::<B::FloatElem>()) as u64,
        macs: macs(subject, args).pass(),
    })
}
