//! What loading allocates.

use super::*;
use burn::module::{Module, ModuleVisitor, Param};

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
    let file = File::open(Source::Bytes(saved(&random_model(), Storage::F16).leak()));
    let checkpoint = Checkpoint::of_file(file.unwrap());
    let unet = empty_unet::<Flex>(&mini(), &checkpoint, &Default::default()).unwrap();
    let wanted = unet_wanted(&unet, "unet.");
    assert_eq!(count(&unet), 0);
    // An error in the middle: all before it are loaded, none after it is made.
    let mut loaded = 0;
    let failed = walk::fill(unet.clone(), |key, transposed, dtype| {
        loaded += 1;
        match loaded {
            5 => Err(Error::NonFinitePicture),
            _ => checkpoint.read(&format!("unet.{key}"), transposed, dtype),
        }
    });
    assert!(matches!(failed, Err(Error::NonFinitePicture)));
    assert_eq!(loaded, 5);
    let unet = fill_unet(unet, "unet.", &checkpoint).unwrap();
    assert_eq!(count(&unet), wanted.len());
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
        super::super::bundle::save(&path, &config, &model, Storage::F16).unwrap();
    }
    // Starts the peak anew.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    let start = std::time::Instant::now();
    let source = Source::File(path);
    let loaded =
        super::super::bundle::load::<Flex, UNetConfig>(source, &Default::default(), |config| {
            config
        });
    let seconds = start.elapsed().as_secs_f64();
    let peak = status("VmHWM") - before;
    drop(loaded.unwrap());
    println!(
        "peak {peak} bytes over {before}, {:.3} of the model, in {seconds:.2} s",
        peak as f64 / MODEL_BYTES as f64
    );
    assert!(peak as f64 <= 1.25 * MODEL_BYTES as f64);
}
