//! Tests with a real checkpoint of diffusers: its keys, its values, and the output computed from
//! them.

use super::*;

#[test]
fn keys_match_diffusers() {
    let config = diffusers_config::parse(&fixture("unet_tiny/config.json")).unwrap();
    let unet = config.init::<Flex>(&Default::default()).unwrap();
    let mut ours: Vec<_> = parameters::shapes(&unet)
        .into_iter()
        .map(|parameter| (parameters::key(&parameter), parameter.shape.to_vec()))
        .collect();
    ours.sort();
    let bytes = std::fs::read(fixture("unet_tiny").join(MODEL)).unwrap();
    let theirs: Vec<_> = SafetensorsContent::parse(&bytes)
        .tensors
        .into_iter()
        .map(|(key, (_, shape, _))| (key, shape))
        .collect();
    assert_eq!(ours, theirs);
}

#[test]
fn the_values_of_a_diffusers_checkpoint_are_unchanged() {
    let folder = TempDir::new().unwrap();
    let weights = std::fs::read(fixture("unet_tiny").join(MODEL)).unwrap();
    write(&folder, MODEL, &weights);
    let config = std::fs::read(fixture("unet_tiny/config.json")).unwrap();
    write(&folder, "config.json", config);
    let mut prompts = SafetensorsContent {
        metadata: HashMap::new(),
        tensors: BTreeMap::new(),
    };
    prompts.insert(PROMPTS[0], &[2, 64], &[0.5; 128]);
    prompts.insert(PROMPTS[1], &[1, 64], &[-0.5; 64]);
    write(&folder, "prompts.safetensors", prompts.to_bytes());
    let (_, loaded) = load_folder(&folder).unwrap();
    assert_eq!(loaded.positive.dims(), [2, 64]);

    let theirs = SafetensorsContent::parse(&weights);
    let ours = parameters::values(&loaded.unet);
    assert_eq!(ours.len(), theirs.tensors.len());
    for parameter in ours {
        let key = parameters::key(&parameter);
        let values = parameter.to_data().unwrap().to_vec::<f32>().unwrap();
        assert_eq!(values, theirs.values(&key), "{key}");
    }
}

/// A wrongly transposed square matrix has the right shape. Only the computation reveals it.
#[test]
fn a_loaded_unet_computes_the_output_of_diffusers() {
    let device = Default::default();
    let config = diffusers_config::parse(&fixture("unet_tiny/config.json")).unwrap();
    let weights = WeightsSource::File(fixture("unet_tiny").join(MODEL));
    let checkpoint = Checkpoint::open(weights).unwrap();
    let unet = empty_unet::<Flex>(&config, &checkpoint, &device).unwrap();
    let unet = read_module(unet, "", &Arc::new(checkpoint), &device).unwrap();

    let io = WeightsSource::File(fixture("unet_tiny/io.safetensors"));
    let io = Checkpoint::open(io).unwrap();
    let read = |key: &str| io.read(key, DType::F32).unwrap();
    let sample = Tensor::from_data(read("main.sample"), &device);
    let prompt = Tensor::from_data(read("main.encoder_hidden_states"), &device);
    let output = unet.forward(sample, &unet.condition(500.0, prompt));
    let expected = Tensor::<Flex, 4>::from_data(read("main.output_f64ref"), &device);
    let scale = expected.clone().abs().max().into_scalar();
    let difference = (output - expected).abs().max().into_scalar();
    assert!(difference < 1e-4 * scale, "{difference} of {scale}");
}
