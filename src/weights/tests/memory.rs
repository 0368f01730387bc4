//! What loading allocates.

use super::*;
use burn::module::{Module, ModuleVisitor, Param};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the parameters that are in memory.
struct InMemory(usize);

impl ModuleVisitor<Flex> for InMemory {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Flex, D>>) {
        self.0 += usize::from(param.is_initialized());
    }
}

#[test]
fn weights_to_be_loaded_are_never_initialised() {
    let count = |unet: &UNet<Flex>| {
        let mut visitor = InMemory(0);
        unet.visit(&mut visitor);
        visitor.0
    };
    let device = Default::default();
    let bytes: &[u8] = saved(&random_model(), Storage::F16).leak();
    let checkpoint = || Checkpoint::open(Source::Bytes(bytes)).unwrap();
    let unet = empty_unet::<Flex>(&mini(), &checkpoint(), &device).unwrap();
    let wanted = wanted(&unet, "unet.");
    assert_eq!(count(&unet), 0);
    // An error in the middle: all before it are loaded, none after it is read.
    let (file, loaded) = (checkpoint(), Arc::new(AtomicUsize::new(0)));
    let counter = loaded.clone();
    let failed = parameters::fill(unet.clone(), &device, move |key| {
        match counter.fetch_add(1, Ordering::Relaxed) {
            4 => Err(Error::NonFinitePicture),
            _ => file.read(&format!("unet.{key}"), DType::F32),
        }
    });
    assert!(matches!(failed, Err(Error::NonFinitePicture)));
    assert_eq!(loaded.load(Ordering::Relaxed), 5);
    let unet = read_module(unet, "unet.", &Arc::new(checkpoint()), &device).unwrap();
    assert_eq!(count(&unet), wanted.len());
}

/// Values of a wrong shape never pass for loaded ones.
#[test]
#[should_panic(expected = "ShapeMismatch")]
fn what_is_not_loaded_does_not_pass_in_silence() {
    let device = Default::default();
    let unet = mini().init::<Flex>(&device).unwrap();
    let _ = parameters::fill(unet, &device, |_| Ok([0.5f32].into()));
}

/// A line of `/proc/self/status`, in bytes.
#[cfg(target_os = "linux")]
fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// Loading needs little more than the loaded model: no second copy of it, and no map of the whole file.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "5 GB of memory and 2 GB of disk: cargo test --release --lib full_size -- --ignored --nocapture"]
fn a_full_size_model_is_loaded_in_its_own_size() {
    const MODEL_BYTES: usize = 4 * 866_993_792;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let config = UNetConfig::sd21();
    {
        let device = Default::default();
        let prompt = || Tensor::random([77, 1024], Distribution::Default, &device);
        let model = Weights::<Flex> {
            unet: config.init(&device).unwrap(),
            positive: prompt(),
            negative: prompt(),
        };
        save_bundle(&path, &model_config(config), &model, Storage::F16).unwrap();
    }
    // Starts the peak anew.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    let start = std::time::Instant::now();
    let source = Source::File(path);
    let loaded = load_from(source);
    let seconds = start.elapsed().as_secs_f64();
    // All of the process: what the heap kept of the saved model would hide a part of the loading otherwise.
    let peak = status("VmHWM");
    drop(loaded.unwrap());
    println!(
        "peak {peak} bytes, {before} of them before, {:.3} of the model, in {seconds:.2} s",
        peak as f64 / MODEL_BYTES as f64
    );
    assert!(peak as f64 <= 1.25 * MODEL_BYTES as f64);
}
