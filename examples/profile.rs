//! Where the time of one pass goes, by kind of operation, with random weights:
//!
//! `cargo run --release --example profile -- --model sd21 --size 512x512`
//!
//! On a GPU with its feature, as `--features cuda` and `--backend cuda-bf16`.
//!
//! Each operation is timed alone, at every shape that the pass has, and multiplied by how often the pass has it. The
//! rest is what the whole pass takes beyond these: concatenations, residual additions, enlargements, and the weights,
//! which come from memory there and from a cache here.

mod common;

use burn::tensor::{Distribution, Tensor};
use clap::{Parser, ValueEnum};
use common::{median_seconds, size};
use gendr_pix::unet::Operation;
use gendr_pix::{Backend, GenDrPixConfig, GroupNormOptions, backend};
use std::collections::BTreeMap;
use std::convert::Infallible;

#[derive(Parser)]
struct Args {
    /// Where it runs, if it is built in: flex, cuda or wgpu, on GPUs with -f16 (or -bf16, cuda) for that precision.
    #[arg(long, default_value = "flex")]
    backend: String,
    /// Which model.
    #[arg(long, value_enum, default_value_t = Model::Nano)]
    model: Model,
    /// Size of the output.
    #[arg(long, default_value = "512x512", value_parser = size)]
    size: (u32, u32),
    /// Runs of each operation and of the pass; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Show every operation at every shape, too.
    #[arg(long)]
    each: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    Nano,
    Sd21,
}

/// Seconds and multiply-accumulates of a kind of operation in one pass.
#[derive(Default)]
struct Share {
    seconds: f64,
    macs: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    match args.backend.as_str() {
        "flex" => profile::<backend::Flex>(&args),
        #[cfg(feature = "cuda")]
        "cuda" => profile::<backend::Cuda>(&args),
        #[cfg(feature = "cuda")]
        "cuda-f16" => profile::<backend::Cuda<half::f16>>(&args),
        #[cfg(feature = "cuda")]
        "cuda-bf16" => profile::<backend::Cuda<half::bf16>>(&args),
        #[cfg(feature = "wgpu")]
        "wgpu" => profile::<backend::Wgpu>(&args),
        #[cfg(feature = "wgpu")]
        "wgpu-f16" => profile::<backend::Wgpu<half::f16>>(&args),
        name => Err(format!("backend `{name}` is not built in: see the features").into()),
    }
}

fn profile<B: Backend>(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let (config, tokens) = match args.model {
        Model::Nano => (GenDrPixConfig::nano(), 4),
        Model::Sd21 => (GenDrPixConfig::sd21(), 77),
    };
    let config = config.unet;
    let [w, h] = [args.size.0, args.size.1].map(|side| side.div_ceil(8) as usize);

    let mut shares = BTreeMap::<&str, Share>::new();
    let mut timed = Vec::<(Operation, f64)>::new();
    for operation in config.operations(h, w, tokens) {
        let seconds = match timed.iter().find(|(other, _)| *other == operation) {
            Some((_, seconds)) => *seconds,
            None => {
                let seconds = seconds::<B>(operation, config.norm_num_groups, args.runs);
                timed.push((operation, seconds));
                seconds
            }
        };
        let share = shares.entry(kind(operation)).or_default();
        share.seconds += seconds;
        share.macs += operation.macs();
    }

    let unet = config.init::<B>(&Default::default())?;
    let conditioning = unet.condition(500.0, random([1, tokens, config.cross_attention_dim]));
    let sample = random([1, config.in_channels, h, w]);
    let pass = time::<B>(args.runs, || {
        unet.forward(sample.clone(), &conditioning).into_data();
    });

    if args.each {
        for (operation, seconds) in &timed {
            let times = config.operations(h, w, tokens);
            let times = times.iter().filter(|other| *other == operation).count();
            let rate = 2e-9 * operation.macs() as f64 / seconds;
            let all = 1e3 * seconds * times as f64;
            println!("{all:>7.1} ms in {times:>2} x {rate:>4.0} GFLOP/s {operation:?}");
        }
    }
    let known: f64 = shares.values().map(|share| share.seconds).sum();
    println!(
        "{:<12} {:>9} {:>8} {:>9}",
        "", "seconds", "share", "GFLOP/s"
    );
    let row = |name: &str, seconds: f64, macs: u64| {
        let rate = match macs {
            0 => String::new(),
            _ => format!("{:.0}", 2e-9 * macs as f64 / seconds),
        };
        let percent = 100.0 * seconds / pass;
        println!("{name:<12} {seconds:>9.3} {percent:>7.1}% {rate:>9}");
    };
    for (kind, share) in &shares {
        row(kind, share.seconds, share.macs);
    }
    row("the rest", pass - known, 0);
    row("pass", pass, config.macs(h, w, tokens).pass());
    Ok(())
}

fn kind(operation: Operation) -> &'static str {
    match operation {
        Operation::Convolution { .. } => "convolution",
        Operation::Linear { .. } => "linear",
        Operation::Attention { .. } => "attention",
        Operation::GroupNorm { .. } | Operation::TokenNorm { .. } => "norm",
        Operation::FeedForward { .. } => "feed-forward",
        other => panic!("{other:?} has no name here"),
    }
}

fn seconds<B: Backend>(operation: Operation, groups: usize, runs: u32) -> f64 {
    match operation {
        Operation::Convolution {
            channels: [input, output],
            size: [h, w],
            kernel,
            stride,
        } => {
            let (x, bias) = (random([1, input, h, w]), random([output]));
            let weight = random([output, input, kernel, kernel]);
            time::<B>(runs, || {
                B::convolution(x.clone(), weight.clone(), bias.clone(), stride);
            })
        }
        Operation::Linear {
            tokens,
            channels: [input, output],
            bias,
        } => {
            let (x, weight) = (random::<B, 3>([1, tokens, input]), random([input, output]));
            let bias = bias.then(|| random([output]));
            time::<B>(runs, || {
                B::token_linear(x.clone(), weight.clone(), bias.clone());
            })
        }
        Operation::Attention {
            queries,
            keys,
            channels,
            heads,
        } => {
            let query = random([1, queries, channels]);
            let [key, value] = [(); 2].map(|()| random([1, keys, channels]));
            time::<B>(runs, || {
                B::multi_head_attention(query.clone(), key.clone(), value.clone(), heads);
            })
        }
        Operation::GroupNorm {
            channels,
            size: [h, w],
            silu,
        } => {
            let x = random([1, channels, h, w]);
            let [weight, bias] = [(); 2].map(|()| random([channels]));
            let options = GroupNormOptions {
                groups,
                epsilon: 1e-5,
                silu,
            };
            time::<B>(runs, || {
                B::group_norm(x.clone(), weight.clone(), bias.clone(), options);
            })
        }
        Operation::TokenNorm { tokens, channels } => {
            let x = random([1, tokens, channels]);
            let [weight, bias] = [(); 2].map(|()| random([channels]));
            time::<B>(runs, || {
                B::token_norm(x.clone(), weight.clone(), bias.clone(), 1e-5);
            })
        }
        Operation::FeedForward {
            tokens,
            channels,
            hidden,
        } => {
            let x = random([1, tokens, channels]);
            let weights = [random([channels, 2 * hidden]), random([hidden, channels])];
            let biases = [random([2 * hidden]), random([channels])];
            time::<B>(runs, || {
                B::feed_forward(x.clone(), weights.clone(), biases.clone());
            })
        }
        other => panic!("{other:?} is not timed here"),
    }
}

fn random<B: Backend, const D: usize>(shape: [usize; D]) -> Tensor<B, D> {
    Tensor::random(shape, Distribution::Default, &Default::default())
}

/// Median seconds of `runs` calls after one that is not counted.
fn time<B: Backend>(runs: u32, mut run: impl FnMut()) -> f64 {
    let mut run = || {
        run();
        // GPUs are given work and told nothing of its end.
        B::sync(&Default::default()).expect("a device that works");
    };
    run();
    let median = median_seconds(runs as usize, || {
        run();
        Ok::<_, Infallible>(())
    });
    let Ok(median) = median;
    median.expect("there is a run")
}
