//! Tests of bundles.

use super::*;
use crate::model::GenDrPix;
use burn::tensor::TensorData;
use proptest::prelude::*;

/// Changes the content of a valid bundle, and returns the error of loading it.
fn load_changed(change: impl FnOnce(&mut SafetensorsContent)) -> Error {
    let mut content = SafetensorsContent::parse(&saved(&random_model(), Storage::F32));
    change(&mut content);
    load(content.to_bytes()).unwrap_err()
}

#[test]
fn a_bundle_round_trips() {
    let model = random_model();
    let bytes = saved(&model, Storage::F32);
    let (config, loaded) = load(bytes.clone()).unwrap();
    assert_eq!(config, mini());
    assert_eq!(loaded.positive.dims(), [3, 6]);
    assert_eq!(loaded.negative.dims(), [1, 6]);
    // Values, order and header match byte for byte.
    assert_eq!(saved(&loaded, Storage::F32), bytes);
}

#[test]
fn static_and_owned_bytes_load_alike() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let device = Default::default();
    let unet = UNetConfig {
        in_channels: 192,
        out_channels: 192,
        ..mini()
    };
    let model = GenDrPix::<Flex>::new(model_config(unet), 3, &device).unwrap();
    model.save(&path, Storage::F32).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let leaked: &'static [u8] = bytes.clone().leak();
    for model in [
        GenDrPix::<Flex>::from_bytes(leaked, &device).unwrap(),
        GenDrPix::<Flex>::from_bytes(bytes.clone(), &device).unwrap(),
    ] {
        model.save(&path, Storage::F32).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_bundle_loads_from_disk_as_from_memory() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = random_model();
    for storage in [Storage::F32, Storage::F16, Storage::BF16] {
        save(&path, &model, storage).unwrap();
        let source = WeightsSource::File(path.clone());
        let (_, disk) = load_from(source).unwrap();
        let (_, memory) = load(std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(saved(&disk, Storage::F32), saved(&memory, Storage::F32));
    }
    // No other file is left in the folder.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn saving_in_half_precision_rounds_once(values in prop::collection::vec(-6e4f32..6e4, 18)) {
        let mut model = random_model();
        let data = TensorData::new(values.clone(), [3, 6]);
        model.positive = Tensor::from_data(data, &Default::default());
        let (_, exact) = load(saved(&model, Storage::F32)).unwrap();
        prop_assert_eq!(exact.positive.into_data().to_vec::<f32>().unwrap(), values.clone());
        let to_f16: fn(f32) -> f32 = |value| f16::from_f32(value).to_f32();
        let to_bf16: fn(f32) -> f32 = |value| bf16::from_f32(value).to_f32();
        for (storage, round) in [(Storage::F16, to_f16), (Storage::BF16, to_bf16)] {
            let half = saved(&model, storage);
            let (_, loaded) = load(half.clone()).unwrap();
            let rounded: Vec<f32> = values.iter().copied().map(round).collect();
            prop_assert_eq!(loaded.positive.clone().into_data().to_vec::<f32>().unwrap(), rounded);
            prop_assert_eq!(saved(&loaded, storage), half);
        }
    }

    /// Any damage leads to an error or a model, and never to a panic.
    #[test]
    fn damage_does_not_panic(at in 0usize..20_000, to: u8, len in 0usize..60_000) {
        let mut bytes = saved(&random_model(), Storage::F16);
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = load(bytes.clone());
        bytes.truncate(len);
        let _ = load(bytes);
    }
}

#[test]
fn saving_rejects_values_that_overflow_and_keeps_the_old_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut model = random_model();
    save(&path, &model, Storage::F16).unwrap();
    let before = std::fs::read(&path).unwrap();
    model.negative = Tensor::full([1, 6], 1e5, &Default::default());
    match save(&path, &model, Storage::F16) {
        Err(Error::NonFiniteWeight { key, .. }) => assert_eq!(key, PROMPTS[1]),
        other => panic!("expected a weight error, found {other:?}"),
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    save(&path, &model, Storage::BF16).unwrap();

    let nowhere = folder.path().join("no/such/folder.safetensors");
    assert!(matches!(
        save(&nowhere, &model, Storage::F32),
        Err(Error::Io { path, .. }) if path == nowhere
    ));
}

#[test]
fn files_that_are_not_safetensors_are_rejected() {
    let bytes = saved(&random_model(), Storage::F32);
    let terabytes = [&(1u64 << 42).to_le_bytes()[..], b"{}"].concat();
    let endless = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    let not_json = [&4u64.to_le_bytes()[..], b"{no}"].concat();
    let appended = [&bytes[..], b"x"].concat();
    for bad in [
        vec![],
        b"short".to_vec(),
        b"this is a text, not a safetensors file".to_vec(),
        terabytes,
        endless,
        not_json,
        appended,
        bytes[..bytes.len() - 1].to_vec(),
        bytes[..100].to_vec(),
    ] {
        let folder = TempDir::new().unwrap();
        write(&folder, "bad", &bad);
        let path = WeightsSource::File(folder.path().join("bad"));
        let error = load_from(path);
        let reason = format_reason(error.unwrap_err(), "bad");
        assert!(
            reason.contains("not a complete safetensors file"),
            "{reason}"
        );
        format_reason(load(bad).unwrap_err(), "<memory>");
    }
}

#[test]
fn missing_files_are_named() {
    let path = PathBuf::from("no/such/file");
    let error = load_from(WeightsSource::File(path.clone()));
    assert!(matches!(error, Err(Error::Io { path: at, .. }) if at == path));
    let folder = TempDir::new().unwrap();
    let error = load_folder(&folder);
    assert!(matches!(error, Err(Error::Io { path, .. }) if path.ends_with("config.json")));
    // A folder instead of a file.
    let source = WeightsSource::File(folder.path().to_owned());
    let error = load_from(source);
    assert!(matches!(
        error,
        Err(Error::Io { .. } | Error::Format { .. })
    ));
}

#[test]
fn metadata_is_checked() {
    for (key, value, expected) in [
        ("gendr_pix.version", None, "lacks `gendr_pix.version`"),
        ("gendr_pix.config", None, "lacks `gendr_pix.config`"),
        ("gendr_pix.version", Some("2"), "format version \"2\""),
        ("gendr_pix.config", Some("{"), "metadata `gendr_pix.config`"),
        ("gendr_pix.config", Some("{\"a\":1}"), "unknown field `a`"),
    ] {
        let error = load_changed(|content| match value {
            None => drop(content.metadata.remove(key)),
            Some(value) => drop(content.metadata.insert(key.into(), value.into())),
        });
        let reason = format_reason(error, "<memory>");
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn configs_of_absurd_size_are_rejected() {
    type Change = fn(&mut UNetConfig);
    let changes: [(&str, Change); 6] = [
        ("in_channels", |c| c.in_channels = usize::MAX),
        ("block_out_channels", |c| c.block_out_channels[1] = 1 << 60),
        ("layers_per_block", |c| {
            c.layers_per_block = vec![usize::MAX; 2]
        }),
        ("layers_per_block", |c| {
            c.layers_per_block = vec![1 << 40, 1]
        }),
        ("norm_num_groups", |c| c.norm_num_groups = 0),
        ("block_out_channels", |c| c.block_out_channels.clear()),
    ];
    for (expected, change) in changes {
        let mut config = mini();
        change(&mut config);
        let error = load_changed(|content| {
            let json = serde_json::to_string(&model_config(config)).unwrap();
            content.metadata.insert("gendr_pix.config".into(), json);
        });
        assert!(
            matches!(error, Error::Config { field, .. } if field == expected),
            "{expected}"
        );
    }
}

#[test]
fn all_wrong_keys_are_listed() {
    let error = load_changed(|content| {
        content.tensors.remove("unet.conv_in.bias");
        content.tensors.remove("prompt.negative");
        content.insert("unet.conv_in.scale", &[1], &[1.0]);
        content.insert("other", &[1], &[1.0]);
        content.insert("unet.conv_out.bias", &[2], &[1.0; 2]);
        content.insert("prompt.positive", &[3, 5], &[1.0; 15]);
    });
    let text = error.to_string();
    match error {
        Error::Keys {
            path,
            missing,
            unused,
            misshapen,
        } => {
            assert_eq!(path, Path::new("<memory>"));
            assert_eq!(missing, ["unet.conv_in.bias", "prompt.negative"]);
            assert_eq!(unused, ["other", "unet.conv_in.scale"]);
            assert_eq!(
                misshapen,
                [
                    "unet.conv_out.bias (expected [4], found [2])",
                    "prompt.positive (expected [1.., 6], found [3, 5])",
                ]
            );
        }
        other => panic!("expected a key error, found {other:?}"),
    }
    assert!(text.contains("2 missing: unet.conv_in.bias, prompt.negative"));
}

#[test]
fn prompts_with_another_shape_are_rejected() {
    for shape in [&[6][..], &[0, 6], &[1, 3, 6], &[3, 7], &[]] {
        let values = vec![0.5; shape.iter().product()];
        let error = load_changed(|content| content.insert("prompt.negative", shape, &values));
        assert!(
            matches!(error, Error::Keys { ref misshapen, .. } if misshapen.len() == 1),
            "{shape:?}: {error}"
        );
    }
}

#[test]
fn types_that_are_not_floats_are_rejected() {
    for (dtype, size) in [(Dtype::I64, 8), (Dtype::U8, 1), (Dtype::F64, 8)] {
        let error = load_changed(|content| {
            let tensor = content.tensors.get_mut("unet.conv_out.bias").unwrap();
            *tensor = (dtype, vec![4], vec![0; 4 * size]);
        });
        let reason = format_reason(error, "<memory>");
        assert!(
            reason.contains(&format!("`unet.conv_out.bias` is stored as {dtype:?}")),
            "{reason}"
        );
    }
}

#[test]
fn weights_that_are_not_finite_are_named() {
    for bad in [f32::NAN, f32::INFINITY] {
        for (key, shape) in [
            ("unet.conv_out.bias", &[4][..]),
            ("prompt.positive", &[1, 6]),
        ] {
            let values = vec![bad; shape.iter().product()];
            match load_changed(|content| content.insert(key, shape, &values)) {
                Error::NonFiniteWeight { key: found, .. } => assert_eq!(found, key),
                other => panic!("expected a weight error, found {other:?}"),
            }
        }
    }
}

#[test]
fn weights_that_overflow_the_backends_precision_are_named() {
    let mut content = SafetensorsContent::parse(&saved(&random_model(), Storage::F32));
    content.insert("large", &[2], &[1.0, 1e5]);
    content.insert("empty", &[0, 3], &[]);
    let checkpoint = Checkpoint::open(WeightsSource::Bytes(content.to_bytes().into())).unwrap();
    for (dtype, fits) in [
        (DType::F16, false),
        (DType::BF16, true),
        (DType::F32, true),
        (DType::F64, true),
    ] {
        assert_eq!(
            checkpoint.read("empty", dtype).unwrap().shape.to_vec(),
            [0, 3]
        );
        match checkpoint.read("large", dtype) {
            Ok(data) => assert!(fits && data.dtype == dtype),
            Err(Error::NonFiniteWeight { key, .. }) => assert!(!fits && key == "large"),
            Err(other) => panic!("expected a weight error, found {other:?}"),
        }
    }
}
