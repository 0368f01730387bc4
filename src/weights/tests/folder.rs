//! Tests of diffusers folders.

use super::*;

#[test]
fn every_folder_layout_is_read() {
    let model = random_model();
    let expected = saved(&model, Storage::F32);
    let layouts: [(&str, Option<&str>); 5] = [
        (MODEL, None),
        ("diffusion_pytorch_model.fp16.safetensors", None),
        ("", Some("diffusion_pytorch_model.safetensors.index.json")),
        (
            "",
            Some("diffusion_pytorch_model.safetensors.index.fp16.json"),
        ),
        (
            "",
            Some("diffusion_pytorch_model.fp16.safetensors.index.json"),
        ),
    ];
    for (file, index) in layouts {
        for sub in ["", "unet/"] {
            let (folder, weights) = diffusers_folder(&model);
            remove(&folder, "config.json");
            remove(&folder, MODEL);
            write(
                &folder,
                &format!("{sub}config.json"),
                mini_json().to_string(),
            );
            match index {
                None => write(&folder, &format!("{sub}{file}"), weights.to_bytes()),
                Some(index) => write_shards(&folder, &weights, sub, index),
            }
            let (config, loaded) = load_folder(&folder).unwrap();
            assert_eq!(config, mini());
            assert_eq!(
                saved(&loaded, Storage::F32),
                expected,
                "{sub}{file} {index:?}"
            );
        }
    }
}

/// Splits weights over two shards, alternating between them.
fn write_shards(folder: &TempDir, weights: &SafetensorsContent, sub: &str, index: &str) {
    let mut shards = [(); 2].map(|()| SafetensorsContent {
        metadata: HashMap::new(),
        tensors: BTreeMap::new(),
    });
    let mut map = BTreeMap::new();
    for (i, (key, tensor)) in weights.tensors.iter().enumerate() {
        map.insert(key, format!("shard-{}.safetensors", i % 2));
        shards[i % 2].tensors.insert(key.clone(), tensor.clone());
    }
    for (i, shard) in shards.iter().enumerate() {
        write(
            folder,
            &format!("{sub}shard-{i}.safetensors"),
            shard.to_bytes(),
        );
    }
    let json = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    write(folder, &format!("{sub}{index}"), json.to_string());
}

#[test]
fn shards_are_checked() {
    let (folder, weights) = diffusers_folder(&random_model());
    let index = "diffusion_pytorch_model.safetensors.index.json";
    remove(&folder, MODEL);
    write_shards(&folder, &weights, "", index);

    // A key that is in two shards.
    let shard = folder.path().join("shard-0.safetensors");
    let intact = std::fs::read(&shard).unwrap();
    write(&folder, "shard-0.safetensors", weights.to_bytes());
    let reason = format_reason(load_folder(&folder).unwrap_err(), "shard-1.safetensors");
    assert!(reason.contains("is also in"), "{reason}");
    // A shard that lacks a key.
    let mut less = SafetensorsContent::parse(&intact);
    let (gone, _) = less.tensors.pop_first().unwrap();
    write(&folder, "shard-0.safetensors", less.to_bytes());
    let reason = format_reason(load_folder(&folder).unwrap_err(), index);
    assert!(reason.contains(&gone), "{reason}");
    // A missing shard.
    remove(&folder, "shard-0.safetensors");
    let error = load_folder(&folder).unwrap_err();
    assert!(matches!(error, Error::Io { path, .. } if path == shard));
}

#[test]
fn an_index_cannot_refer_to_a_file_outside_of_its_folder() {
    let (folder, weights) = diffusers_folder(&random_model());
    let index = "diffusion_pytorch_model.safetensors.index.json";
    remove(&folder, MODEL);
    write(&folder, "inner/weights.safetensors", weights.to_bytes());
    let absolute = folder.path().join("inner/weights.safetensors");
    for name in [
        "inner/weights.safetensors",
        "../weights.safetensors",
        "..",
        ".",
        "",
        "inner\\weights.safetensors",
        "C:weights.safetensors",
        absolute.to_str().unwrap(),
    ] {
        let json = serde_json::json!({ "weight_map": { "conv_in.bias": name } });
        write(&folder, index, json.to_string());
        let reason = format_reason(load_folder(&folder).unwrap_err(), index);
        assert!(reason.contains("not a file of its folder"), "{reason}");
    }
    for text in ["", "[]", "{}", "{\"weight_map\": {\"a\": 1}}"] {
        write(&folder, index, text);
        let reason = format_reason(load_folder(&folder).unwrap_err(), index);
        assert!(reason.contains("not an index of shards"), "{reason}");
    }
}

#[test]
fn incomplete_folders_are_rejected() {
    let model = random_model();
    let (no_prompts, _) = diffusers_folder(&model);
    remove(&no_prompts, "prompts.safetensors");
    let error = load_folder(&no_prompts).unwrap_err();
    assert!(matches!(error, Error::Io { path, .. } if path.ends_with("prompts.safetensors")));
    // Loading the UNet alone does not need them.
    UNet::<Flex>::load_diffusers(no_prompts.path(), &Default::default()).unwrap();

    let (no_weights, _) = diffusers_folder(&model);
    remove(&no_weights, MODEL);
    let reason = format_reason(load_folder(&no_weights).unwrap_err(), "");
    assert!(reason.contains(MODEL), "{reason}");

    let (bad_config, _) = diffusers_folder(&model);
    for text in [&b"{"[..], b"[]", b"", b"\xff\xfe"] {
        write(&bad_config, "config.json", text);
        format_reason(load_folder(&bad_config).unwrap_err(), "config.json");
    }
    let mut json = mini_json();
    json["class_embed_type"] = "timestep".into();
    write(&bad_config, "config.json", json.to_string());
    let error = load_folder(&bad_config).unwrap_err();
    assert!(matches!(
        error,
        Error::Config {
            field: "class_embed_type",
            ..
        }
    ));

    let (bad_prompts, mut weights) = diffusers_folder(&model);
    write(&bad_prompts, "prompts.safetensors", weights.to_bytes());
    let error = load_folder(&bad_prompts).unwrap_err();
    assert!(matches!(error, Error::Keys { path, .. } if path.ends_with("prompts.safetensors")));

    let (bad_weights, _) = diffusers_folder(&model);
    weights.tensors.pop_first();
    write(&bad_weights, MODEL, weights.to_bytes());
    let error = load_folder(&bad_weights).unwrap_err();
    assert!(matches!(error, Error::Keys { path, .. } if path.ends_with(MODEL)));
}
