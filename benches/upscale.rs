//! Benchmarks on the default CPU backend: the shuffles, attention and GEGLU at the shapes of the
//! full-size model for 512x512 pixels, a pass of the UNet, and the enlargement of a picture to
//! 1080p. Run them with `cargo bench -p gendr-pix-benches`.
//!
//! `GENDR_PIX_BENCH_SD21=1` adds a 512x512 pass of the full-size model with random weights
//! (3.5 GB).

use burn::tensor::{Distribution, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gendr_pix::backend::Cpu as B;
use gendr_pix::shuffle::{pixel_shuffle, pixel_unshuffle};
use gendr_pix::{Backend, GenDrPix, GenDrPixConfig, Padding, Restore};
use image::DynamicImage;
use std::hint::black_box;
use std::time::Duration;

fn shuffles(c: &mut Criterion) {
    let device = Default::default();
    let picture = Tensor::<B, 4>::random([1, 3, 1080, 1920], Distribution::Default, &device);
    let mut group = c.benchmark_group("1920x1080");
    group.bench_function("pixel_unshuffle", |b| {
        b.iter(|| black_box(pixel_unshuffle(picture.clone(), 8)));
    });
    let folded = pixel_unshuffle(picture, 8);
    group.bench_function("pixel_shuffle", |b| {
        b.iter(|| black_box(pixel_shuffle(folded.clone(), 8)));
    });
}

/// The throughput is in multiply-accumulates.
fn attention(c: &mut Criterion) {
    let device = Default::default();
    let random = |shape| Tensor::<B, 3>::random(shape, Distribution::Default, &device);
    let mut group = c.benchmark_group("attention, heads of 64");
    group.sample_size(10);
    for (queries, keys, heads) in [
        (4096, 4096, 5),
        (1024, 1024, 10),
        (256, 256, 20),
        (64, 64, 20),
        (4096, 77, 5),
    ] {
        let channels = 64 * heads;
        let query = random([1, queries, channels]);
        let [key, value] = [(); 2].map(|()| random([1, keys, channels]));
        let macs = 2 * queries * keys * channels;
        group.throughput(Throughput::Elements(macs as u64));
        group.bench_function(format!("{queries} by {keys} tokens, {heads} heads"), |b| {
            b.iter(|| B::multi_head_attention(query.clone(), key.clone(), value.clone(), heads));
        });
    }
}

fn geglu(c: &mut Criterion) {
    let x = Tensor::<B, 3>::random([1, 4096, 2560], Distribution::Default, &Default::default());
    let mut group = c.benchmark_group("4096 tokens");
    group.bench_function("geglu", |b| b.iter(|| B::geglu(x.clone())));
}

/// A pass without guidance. The throughput is in multiply-accumulates.
fn passes(c: &mut Criterion) {
    let device = Default::default();
    let mut models = vec![("nano", GenDrPixConfig::nano(), 4)];
    if std::env::var_os("GENDR_PIX_BENCH_SD21").is_some() {
        models.push(("sd21", GenDrPixConfig::sd21(), 77));
    }
    let mut group = c.benchmark_group("pass 512x512");
    group.sample_size(10);
    let once = Restore::new()
        .guidance(1.0)
        .ensemble(vec![Padding::new(0, 0)]);
    for (name, config, tokens) in models {
        let model = GenDrPix::<B>::new(config, tokens, &device).unwrap();
        // The padding adds a cell on each axis.
        let macs = model.config().unet.macs(65, 65, tokens).pass();
        let x = Tensor::<B, 4>::random([1, 3, 512, 512], Distribution::Uniform(-1.0, 1.0), &device);
        group.throughput(Throughput::Elements(macs));
        group.bench_function(name, |b| {
            b.iter(|| model.restore(x.clone(), &once).unwrap().into_data())
        });
    }
}

fn pictures(c: &mut Criterion) {
    let device = Default::default();
    let model = GenDrPix::<B>::new(GenDrPixConfig::nano(), 4, &device).unwrap();
    let picture = DynamicImage::new_rgb8(480, 270);
    let mut group = c.benchmark_group("480x270 to 1920x1080");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(20));
    group.bench_function("nano", |b| b.iter(|| model.upscale(&picture).unwrap()));
}

criterion_group!(benches, shuffles, attention, geglu, passes, pictures);
criterion_main!(benches);
