//! Making a device ready, giving memory back, and memory over many pictures.

use crate::support::pictures::{gradient, small};
use crate::support::program::example;
use gendr_pix::backend::Flex;
use gendr_pix::{Cancel, Edge, Error, GenDrPix, GenDrPixConfig, Phase, Tiling, Upscale};
use std::sync::{Arc, LazyLock, Mutex};

static MODEL: LazyLock<GenDrPix<Flex>> = LazyLock::new(|| {
    let config = GenDrPixConfig::nano();
    let unet = small(config.unet);
    GenDrPix::new(GenDrPixConfig { unet, ..config }, 3, &Default::default()).unwrap()
});

/// What warming up for `sizes` tells.
fn told(sizes: &[(u32, u32)], options: Upscale) -> Vec<f64> {
    let fractions = Arc::new(Mutex::new(Vec::new()));
    let told = fractions.clone();
    let options = options.on_progress(move |progress| {
        assert_eq!(progress.phase, Phase::Restore);
        told.lock().unwrap().push(progress.fraction);
    });
    MODEL.warm_up(sizes, &options).unwrap();
    fractions.lock().unwrap().clone()
}

#[test]
fn warming_up_is_told_to_the_end() {
    let one = told(&[(40, 24)], Upscale::new());
    let two = told(&[(40, 24), (17, 90)], Upscale::new());
    for fractions in [&one, &two] {
        assert!(fractions.is_sorted() && fractions.last() == Some(&1.0));
    }
    assert_eq!(two.len(), 2 * one.len());
    // Guidance takes a second pass; the self-ensemble does not, its passes being alike.
    let guided = told(&[(40, 24)], Upscale::new().guidance(1.5));
    assert_eq!(guided.len(), 2 * one.len());
    // Of many tiles, one.
    let tiling = Tiling::new(32, 8).unwrap();
    for edge in [Edge::Reflect, Edge::Wrap] {
        let tiled = Upscale::new().tiling(tiling).edge(edge);
        assert_eq!(told(&[(400, 240)], tiled).len(), one.len());
    }
}

#[test]
fn warming_up_is_stopped() {
    let cancel = Cancel::new();
    let stop = cancel.clone();
    let options = Upscale::new()
        .cancel(cancel)
        .on_progress(move |_| stop.cancel());
    let stopped = MODEL.warm_up(&[(40, 24)], &options);
    assert!(matches!(stopped, Err(Error::Cancelled)));
}

#[test]
fn what_cannot_be_warmed_up_is_refused() {
    let warm_up = |size, options: Upscale| MODEL.warm_up(&[size], &options).unwrap_err();
    let error = warm_up((0, 8), Upscale::new());
    assert!(matches!(error, Error::Option { .. }), "{error}");
    let error = warm_up((100, 100), Upscale::new().max_output_pixels(9_999));
    assert!(matches!(error, Error::OutputTooLarge { .. }), "{error}");
    let error = warm_up((100, 100), Upscale::new().memory_budget(1000));
    assert!(matches!(error, Error::OverBudget { .. }), "{error}");
    let error = warm_up((100, 100), Upscale::new().ensemble(Vec::new()));
    assert!(matches!(error, Error::Option { .. }), "{error}");
}

#[test]
fn a_trimmed_model_goes_on() {
    let before = MODEL.upscale(&gradient(9, 7)).unwrap();
    MODEL.trim();
    assert_eq!(MODEL.upscale(&gradient(9, 7)).unwrap(), before);
}

fn soak(arguments: &[&str]) {
    let output = example("soak").args(arguments).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    println!("{told}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}{error}");
}

#[test]
#[ignore = "builds an example program"]
fn memory_is_flat() {
    soak(&["--pictures", "40", "--longest", "256"]);
}

/// `cargo test --release --features ndarray,train --test all many_pictures -- --ignored --nocapture`: some
/// minutes.
#[test]
#[ignore = "long"]
fn memory_is_flat_over_many_pictures() {
    soak(&["--pictures", "200", "--longest", "2048"]);
}
