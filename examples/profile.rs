//! Profiles one pass by kind of operation, with random weights:
//!
//! `cargo run --release --example profile -- --model sd21 --size 512x512`
//!
//! On a GPU: `--features cuda` and `--backend cuda --precision bf16`, for example.
//!
//! Each operation is timed alone at every shape of the pass. Its time is multiplied by the number
//! of times that the pass runs it. "The rest" is the time of the whole pass minus the sum of all
//! operations. It contains concatenations, residual additions, upsampling, the shuffles around the
//! UNet, and reading the weights from memory: when an operation is repeated, its weights come from
//! the cache.

mod common;

use burn::tensor::backend::BackendTypes;
use burn::tensor::{DType, Distribution, Element, Tensor};
use clap::Parser;
use common::backend::BackendArgs;
use common::{Model, median_seconds, size};
use gendr_pix::backend::GroupNormOptions;
use gendr_pix::unet::Operation;
use gendr_pix::{Backend, GenDrPix, Padding, Restore};
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Profile one pass by kind of operation.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    backend: BackendArgs,
    /// Size of the model.
    #[arg(long, value_enum, default_value_t = Model::Nano)]
    model: Model,
    /// Size of the output.
    #[arg(long, default_value = "512x512", value_parser = size)]
    size: (u32, u32),
    /// Number of timed runs of each operation and of the pass. The median is reported.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Also list every operation at every shape.
    #[arg(long)]
    each: bool,
}

/// Seconds and multiply-accumulates of one kind of operation in a pass.
#[derive(Default)]
struct Share {
    seconds: f64,
    macs: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    on_backend!(&args.backend, profile(&args))
}

fn profile<B: Backend>(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let device = B::Device::default();
    let (config, tokens) = args.model.config();
    let model = GenDrPix::<B>::new(config.clone(), tokens, &device)?;
    let model = args.backend.in_precision(model)?;
    let config = config.unet;
    let [w, h] = [args.size.0, args.size.1].map(|side| side.div_ceil(8) as usize);
    let timer = Timer {
        groups: config.norm_num_groups,
        dtype: match args.backend.precision.as_str() {
            "bf16" => DType::BF16,
            _ => <B as BackendTypes>::FloatElem::dtype(),
        },
        runs: args.runs,
    };

    let mut shares = BTreeMap::<&str, Share>::new();
    let mut timed = Vec::<(Operation, f64)>::new();
    for operation in config.operations(h, w, tokens) {
        let seconds = match timed.iter().find(|(other, _)| *other == operation) {
            Some((_, seconds)) => *seconds,
            None => {
                let seconds = timer.seconds::<B>(operation);
                timed.push((operation, seconds));
                seconds
            }
        };
        let share = shares.entry(kind(operation)).or_default();
        share.seconds += seconds;
        share.macs += operation.macs();
    }

    let options = Restore::new()
        .guidance(1.0)
        .ensemble(vec![Padding::new(0, 0)]);
    let picture = random::<B, 4>([1, 3, 8 * h, 8 * w], DType::F32);
    let mut failure = None;
    let pass = timer.time::<B>(|| match model.restore(picture.clone(), &options) {
        Ok(restored) => drop(restored.into_data()),
        Err(error) => failure = Some(error),
    });
    if let Some(error) = failure {
        return Err(error.into());
    }

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

/// Returns the name of the group of operations in the table.
fn kind(operation: Operation) -> &'static str {
    match operation {
        Operation::Convolution { .. } => "convolution",
        Operation::Linear { .. } => "linear",
        Operation::Attention { .. } => "attention",
        Operation::GroupNorm { .. } | Operation::TokenNorm { .. } => "norm",
        Operation::FeedForward { .. } => "feed-forward",
        other => panic!("no name for {other:?}"),
    }
}

/// Times single operations on random inputs.
struct Timer {
    groups: usize,
    dtype: DType,
    runs: u32,
}

impl Timer {
    /// Returns the median time of `operation` in seconds.
    fn seconds<B: Backend>(&self, operation: Operation) -> f64 {
        match operation {
            Operation::Convolution {
                channels: [input, output],
                size: [h, w],
                kernel,
                stride,
            } => {
                let (x, bias) = (self.random([1, input, h, w]), self.random([output]));
                let weight = self.random([output, input, kernel, kernel]);
                self.time::<B>(|| {
                    B::convolution(x.clone(), weight.clone(), bias.clone(), stride);
                })
            }
            Operation::Linear {
                tokens,
                channels: [input, output],
                bias,
            } => {
                let x = self.random::<B, 3>([1, tokens, input]);
                let weight = self.random([input, output]);
                let bias = bias.then(|| self.random([output]));
                self.time::<B>(|| {
                    B::token_linear(x.clone(), weight.clone(), bias.clone());
                })
            }
            Operation::Attention {
                queries,
                keys,
                channels,
                heads,
            } => {
                let query = self.random([1, queries, channels]);
                let [key, value] = [(); 2].map(|()| self.random([1, keys, channels]));
                self.time::<B>(|| {
                    B::multi_head_attention(query.clone(), key.clone(), value.clone(), heads);
                })
            }
            Operation::GroupNorm {
                channels,
                size: [h, w],
                silu,
            } => {
                let x = random([1, channels, h, w], DType::F32);
                let [weight, bias] = [(); 2].map(|()| self.random([channels]));
                let options = GroupNormOptions {
                    groups: self.groups,
                    epsilon: 1e-5,
                    silu,
                };
                self.time::<B>(|| {
                    B::group_norm(x.clone(), weight.clone(), bias.clone(), options);
                })
            }
            Operation::TokenNorm { tokens, channels } => {
                let x = random([1, tokens, channels], DType::F32);
                let [weight, bias] = [(); 2].map(|()| self.random([channels]));
                self.time::<B>(|| {
                    B::token_norm(x.clone(), weight.clone(), bias.clone(), 1e-5);
                })
            }
            Operation::FeedForward {
                tokens,
                channels,
                hidden,
            } => {
                let x = self.random([1, tokens, channels]);
                let sizes = [[channels, 2 * hidden], [hidden, channels]];
                let weights = sizes.map(|size| self.random(size));
                let biases = [2 * hidden, channels].map(|n| self.random([n]));
                self.time::<B>(|| {
                    B::feed_forward(x.clone(), weights.clone(), biases.clone());
                })
            }
            other => panic!("no timing for {other:?}"),
        }
    }

    fn random<B: Backend, const D: usize>(&self, shape: [usize; D]) -> Tensor<B, D> {
        random(shape, self.dtype)
    }

    /// Returns the median time of the runs in seconds, after one run that is not timed.
    fn time<B: Backend>(&self, mut run: impl FnMut()) -> f64 {
        let mut run = || {
            run();
            // A GPU queues work and returns at once.
            B::sync(&Default::default()).expect("the device works");
        };
        run();
        let median = median_seconds(self.runs as usize, || {
            run();
            Ok::<_, Infallible>(())
        });
        let Ok(median) = median;
        median.expect("there is a run")
    }
}

fn random<B: Backend, const D: usize>(shape: [usize; D], dtype: DType) -> Tensor<B, D> {
    Tensor::<B, D>::random(shape, Distribution::Default, &Default::default()).cast(dtype)
}
