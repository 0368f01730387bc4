//! Tests of the memory that loading allocates.

use super::*;
use burn::module::{Module, ModuleVisitor, Param};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the parameters that are initialised.
struct CountInitialised(usize);

impl ModuleVisitor<Flex> for CountInitialised {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Flex, D>>) {
        self.0 += usize::from(param.is_initialized());
    }
}

#[test]
fn weights_are_not_initialised_before_they_are_loaded() {
    let count = |unet: &UNet<Flex>| {
        let mut visitor = CountInitialised(0);
        unet.visit(&mut visitor);
        visitor.0
    };
    let device = Default::default();
    let bytes = saved(&random_model(), Storage::F16);
    let checkpoint = || Checkpoint::open(WeightsSource::Bytes(bytes.clone().into())).unwrap();
    let unet = empty_unet::<Flex>(&mini(), &checkpoint(), &device).unwrap();
    let specs = tensor_specs(&unet, "unet.");
    assert_eq!(count(&unet), 0);
    // After an error in the middle, all tensors before it are loaded and none after it is read.
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
    assert_eq!(count(&unet), specs.len());
}

/// Values with a wrong shape are never taken for loaded ones.
#[test]
#[should_panic(expected = "ShapeMismatch")]
fn values_with_a_wrong_shape_panic() {
    let device = Default::default();
    let unet = mini().init::<Flex>(&device).unwrap();
    let _ = parameters::fill(unet, &device, |_| Ok([0.5f32].into()));
}

/// Reads a line of `/proc/self/status`, in bytes.
#[cfg(target_os = "linux")]
fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// Loading needs little more memory than the loaded model: no second copy, and no map of the whole
/// file.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "5 GB of memory and 2 GB of disk: cargo test --release --lib full_size -- --ignored --nocapture"]
fn a_full_size_model_loads_within_its_own_size() {
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
    // Resets the peak.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    let start = std::time::Instant::now();
    let source = WeightsSource::File(path);
    let loaded = load_from(source);
    let seconds = start.elapsed().as_secs_f64();
    // The peak of the whole process. A difference would miss the heap that is left from the saved
    // model and reused.
    let peak = status("VmHWM");
    drop(loaded.unwrap());
    println!(
        "peak {peak} bytes ({before} before loading), {:.3} times the model, in {seconds:.2} s",
        peak as f64 / MODEL_BYTES as f64
    );
    assert!(peak as f64 <= 1.25 * MODEL_BYTES as f64);
}
