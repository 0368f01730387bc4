//! Reports the largest activation of each layer, and whether the range of f16 (up to 65,504) is
//! sufficient for the model:
//!
//! ```sh
//! cargo run --release --example diagnose -- small.jpg other.png --json
//! cargo run --release --example diagnose -- --weights sd21.safetensors    # on noise
//! ```
//!
//! The model runs in f32 on the default CPU backend and enlarges the pictures four times. Values
//! inside a layer are included where they can exceed the layer's input and output (the hidden layer
//! of the feed-forward). All backends compute the sums of norms and products in f32.

mod common;

use clap::Parser;
use common::noise;
use gendr_pix::backend::Cpu as B;
use gendr_pix::picture::Picture;
use gendr_pix::unet::UNetConfig;
use gendr_pix::{GenDrPix, Padding, Upscale};
use serde::Serialize;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// The largest f16 value.
const LARGEST: f64 = 65_504.0;
/// The share of [`LARGEST`] that a model may reach on the tested pictures. Other pictures may reach
/// more.
const SAFE: f64 = 0.25;
/// Number of layers to print.
const SHOWN: usize = 15;

/// Report the largest activation of each layer, and whether f16 is sufficient for the model.
#[derive(Parser)]
struct Args {
    /// Pictures to enlarge four times; default: noise of 128x128 pixels.
    pictures: Vec<PathBuf>,
    /// Weights file or folder instead of the bundled weights.
    #[arg(long, value_name = "FILE_OR_FOLDER")]
    weights: Option<PathBuf>,
    /// Print all layers as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    f16: bool,
    largest: f64,
    /// `largest` over f16's largest value.
    share: f64,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    /// Name in diffusers.
    name: String,
    kind: &'static str,
    /// Largest absolute value of the output.
    largest: f64,
    /// `largest` over f16's largest value.
    share: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let device = Default::default();
    let model = match &args.weights {
        Some(path) => GenDrPix::<B>::load(path, &device)?,
        #[cfg(feature = "pretrained")]
        None => GenDrPix::<B>::pretrained(&device)?,
        #[cfg(not(feature = "pretrained"))]
        None => return Err("no weights are built in: pass `--weights`".into()),
    };
    let pictures = args.pictures.iter().map(|path| {
        let picture = Picture::open(path)?;
        Ok(picture.image().clone())
    });
    let mut pictures = pictures.collect::<gendr_pix::Result<Vec<_>>>()?;
    if pictures.is_empty() {
        pictures.push(noise(128, 128));
    }
    let mut layers = layers(&model.config().unet);
    // One padding of the self-ensemble is enough.
    let options = Upscale::new().ensemble(vec![Padding::CENTRED]);
    let listener = Listener::default();
    for picture in &pictures {
        tracing::subscriber::with_default(listener.clone(), || {
            model.upscale_with(picture, &options)
        })?;
    }
    let events = listener.0.lock().expect("no panic");
    for pass in events.chunks(layers.len()) {
        for (layer, (kind, largest)) in layers.iter_mut().zip(pass) {
            assert_eq!(layer.kind, kind, "{}: a different layer ran", layer.name);
            layer.largest = layer.largest.max(*largest);
            layer.share = layer.largest / LARGEST;
        }
    }
    let largest = layers
        .iter()
        .fold(0.0, |largest: f64, layer| largest.max(layer.largest));
    let share = largest / LARGEST;
    let f16 = share <= SAFE;
    if args.json {
        let report = Report {
            f16,
            largest,
            share,
            layers,
        };
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    layers.sort_by(|a, b| b.largest.total_cmp(&a.largest));
    println!(
        "{:<44} {:<12} {:>10} {:>9}",
        "layer", "", "largest", "of f16"
    );
    for layer in &layers[..SHOWN.min(layers.len())] {
        let Layer {
            name,
            kind,
            largest,
            share,
        } = layer;
        println!(
            "{name:<44} {kind:<12} {largest:>10.1} {:>7.2} %",
            100.0 * share
        );
    }
    let verdict = match share {
        _ if f16 => "f16 is sufficient",
        ..1.0 => "f16 is not recommended, because this is close to the end of its range",
        _ => "f16 overflows",
    };
    println!(
        "largest activation of all {} layers: {largest:.1}; {verdict}",
        layers.len()
    );
    Ok(())
}

/// Records the kind and the largest output of each layer.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<(String, f64)>>>);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "gendr_pix::activations"
    }
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut all = self.0.lock().expect("no panic");
        all.push((fields.layer, fields.largest));
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The fields of an activation event.
#[derive(Default)]
struct Fields {
    layer: String,
    largest: f64,
}

impl Visit for Fields {
    fn record_f64(&mut self, _: &Field, value: f64) {
        self.largest = value;
    }
    fn record_str(&mut self, _: &Field, value: &str) {
        self.layer = value.into();
    }
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Returns the layers of a pass, in the order in which they run.
fn layers(config: &UNetConfig) -> Vec<Layer> {
    let widths = &config.block_out_channels;
    let stages = config.stages();
    let mut names = LayerList::default();
    names.add("conv_in", "convolution");
    for stage in 0..stages {
        let block = format!("down_blocks.{stage}");
        for layer in 0..config.layers_per_block[stage] {
            let widens = layer == 0 && widths[stage.saturating_sub(1)] != widths[stage];
            names.resnet(&block, layer, widens);
            if config.down_attention[stage] {
                names.transformer(&block, layer);
            }
        }
        if stage + 1 < stages {
            names.add(&format!("{block}.downsamplers.0.conv"), "convolution");
        }
    }
    names.resnet("mid_block", 0, false);
    names.transformer("mid_block", 0);
    names.resnet("mid_block", 1, false);
    for (i, stage) in (0..stages).rev().enumerate() {
        let block = format!("up_blocks.{i}");
        for layer in 0..=config.layers_per_block[stage] {
            // The input includes the channels of the skip, so its width always differs from that of
            // the output.
            names.resnet(&block, layer, true);
            if config.up_attention[i] {
                names.transformer(&block, layer);
            }
        }
        if stage > 0 {
            names.add(&format!("{block}.upsamplers.0.conv"), "convolution");
        }
    }
    names.add("conv_norm_out", "group norm");
    names.add("conv_out", "convolution");
    names.0
}

/// The layers listed so far.
#[derive(Default)]
struct LayerList(Vec<Layer>);

impl LayerList {
    fn add(&mut self, name: &str, kind: &'static str) {
        self.0.push(Layer {
            name: name.into(),
            kind,
            largest: 0.0,
            share: 0.0,
        });
    }

    fn all<const N: usize>(&mut self, path: &str, layers: [(&str, &'static str); N]) {
        for (name, kind) in layers {
            self.add(&format!("{path}{name}"), kind);
        }
    }

    fn resnet(&mut self, block: &str, layer: usize, shortcut: bool) {
        let path = format!("{block}.resnets.{layer}");
        self.all(
            &path,
            [
                (".norm1", "group norm"),
                (".conv1", "convolution"),
                (".norm2", "group norm"),
                (".conv2", "convolution"),
            ],
        );
        if shortcut {
            self.add(&format!("{path}.conv_shortcut"), "convolution");
        }
        self.add(&path, "sum");
    }

    fn transformer(&mut self, block: &str, layer: usize) {
        let path = format!("{block}.attentions.{layer}");
        self.all(&path, [(".norm", "group norm"), (".proj_in", "linear map")]);
        let within = format!("{path}.transformer_blocks.0");
        self.all(
            &within,
            [
                (".norm1", "layer norm"),
                (".attn1.to_k", "linear map"),
                (".attn1.to_v", "linear map"),
                (".attn1.to_q", "linear map"),
                (".attn1", "attention"),
                (".attn1.to_out.0", "linear map"),
                (".attn1", "sum"),
                (".norm2", "layer norm"),
                (".attn2.to_q", "linear map"),
                (".attn2", "attention"),
                (".attn2.to_out.0", "linear map"),
                (".attn2", "sum"),
                (".norm3", "layer norm"),
                (".ff.net.0.proj", "linear map"),
                (".ff.net.0", "GEGLU"),
                (".ff", "feed-forward"),
                ("", "sum"),
            ],
        );
        self.all(&path, [(".proj_out", "linear map"), ("", "sum")]);
    }
}
