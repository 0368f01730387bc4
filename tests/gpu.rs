//! Compares the bundled model on a GPU, or on software Vulkan, with the CPU.
//!
//! `cargo test --release --no-default-features --features wgpu,flex,pretrained --test gpu`

#![cfg(all(feature = "wgpu", feature = "flex", feature = "pretrained"))]

// The parity tests are part of this program, because GPU backends take minutes to compile.
#[path = "all/parity.rs"]
mod parity;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "all/support/mod.rs"]
mod support;

use gendr_pix::backend::{Flex, Wgpu};
use gendr_pix::{Backend, Error, GenDrPix, Padding, Upscale};
use half::f16;
use image::DynamicImage;
use image::imageops::FilterType;

fn model<B: Backend>() -> GenDrPix<B> {
    GenDrPix::pretrained(&Default::default()).unwrap()
}

/// Enlarges a photo of `side` x `side` pixels by a factor of four on both backends, and compares
/// the results.
fn compare(side: u32) {
    let photo = image::load_from_memory(include_bytes!("../assets/sample.jpg")).unwrap();
    let part = photo.resize_exact(side, side, FilterType::Triangle);
    let options = Upscale::new().ensemble(vec![Padding::CENTRED]);
    let [found, expected] = [
        model::<Wgpu>().upscale_with(&part, &options).unwrap(),
        model::<Flex>().upscale_with(&part, &options).unwrap(),
    ];
    assert_eq!(found.width(), 4 * side);
    let difference = largest_difference(&found, &expected);
    println!("{0}x{0}: largest difference {difference} of 255", 4 * side);
    assert!(difference <= 2);
}

fn largest_difference(a: &DynamicImage, b: &DynamicImage) -> u8 {
    let pairs = a.as_bytes().iter().zip(b.as_bytes());
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn a_picture_agrees_with_the_cpu() {
    compare(40);
}

/// `cargo test --release --no-default-features --features wgpu,flex,pretrained --test gpu -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes on software Vulkan"]
fn a_large_picture_agrees_with_the_cpu() {
    compare(256);
}

#[test]
fn the_device_passes_the_self_test() {
    let deviations = model::<Wgpu>().self_test().unwrap();
    let worst = deviations
        .iter()
        .max_by(|a, b| (a.error / a.tolerance).total_cmp(&(b.error / b.tolerance)));
    println!("{} operations, worst: {}", deviations.len(), worst.unwrap());
    assert!(
        deviations
            .iter()
            .any(|it| it.operation.starts_with("the model"))
    );
}

/// A device without f16 returns an error. On a device with f16, this crate's kernels compute in f32
/// and pass the self-test. burn's convolutions accumulate in f16 if the device has no matrix units,
/// as software Vulkan does, and the self-test reports them.
#[test]
fn half_precision_works_or_returns_an_error() {
    let model = match GenDrPix::<Wgpu<f16>>::pretrained(&Default::default()) {
        Ok(model) => model,
        Err(error @ Error::Precision { .. }) => return println!("{error}"),
        Err(error) => panic!("{error}"),
    };
    match model.self_test() {
        Ok(right) => println!("{} operations", right.len()),
        Err(Error::SelfTest { deviations }) => {
            for deviation in deviations {
                assert!(
                    deviation.operation.starts_with("convolution"),
                    "{deviation}"
                );
                assert!(deviation.error < 0.03, "{deviation}");
            }
        }
        Err(error) => panic!("{error}"),
    }
}
