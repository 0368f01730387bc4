//! Tests of the second-order degradation and its presets.

use super::jpeg::quantised;
use super::test_picture::{distance, waves};
use super::*;
use crate::pixels::planes::Planes;
use crate::pixels::resize;
use rand::SeedableRng;
use rand::rngs::SmallRng;

fn presets() -> [SecondOrderDegradation; 3] {
    [
        SecondOrderDegradation::real_esrgan(),
        SecondOrderDegradation::apisr(),
        SecondOrderDegradation::mild(),
    ]
}

fn apply(config: &SecondOrderDegradation, high: &Planes, scale: f64, seed: u64) -> Planes {
    config.apply(high, scale, &mut SmallRng::seed_from_u64(seed))
}

/// Settings without any degradation except the final resize.
fn resize_only() -> SecondOrderDegradation {
    let mut config = SecondOrderDegradation::real_esrgan();
    for round in [&mut config.first, &mut config.second] {
        round.blur.probability = 0.0;
        (round.resize.up, round.resize.down, round.resize.keep) = (0.0, 0.0, 1.0);
        round.noise.probability = 0.0;
        round.compression.probability = 0.0;
    }
    config.last_sinc.share = 0.0;
    config
}

#[test]
fn results_have_the_right_size_and_range_and_are_deterministic() {
    let high = waves(61, 46);
    for (preset, config) in presets().iter().enumerate() {
        config.validate().unwrap();
        for (scale, size) in [(1.0, (61, 46)), (1.5, (41, 31)), (4.0, (15, 12))] {
            for seed in 0..8 {
                let low = apply(config, &high, scale, seed);
                assert_eq!((low.width, low.height), size);
                assert_eq!(low, quantised(low.clone()), "preset {preset}, seed {seed}");
                assert_eq!(low, apply(config, &high, scale, seed));
            }
        }
        let [first, second] = [0, 1].map(|seed| apply(config, &high, 2.0, seed));
        assert_ne!(first, second);
    }
}

#[test]
fn a_single_pixel_can_be_degraded() {
    let pixel = Planes::new(3, 1, 1, vec![0.2, 0.4, 0.8]);
    for config in presets() {
        for seed in 0..30 {
            let low = apply(&config, &pixel, 4.0, seed);
            assert_eq!((low.width, low.height), (1, 1));
        }
    }
}

#[test]
fn without_degradation_a_picture_is_only_resized() {
    let high = quantised(waves(48, 32));
    assert_eq!(apply(&resize_only(), &high, 1.0, 3), high);
    // A third of the draws average by area. (At half size, bilinear interpolation would give the
    // same.)
    let area = resize::reduce_with(&high, 12, 8, fast_image_resize::FilterType::Box);
    let hits =
        (0..60).filter(|&seed| apply(&resize_only(), &high, 4.0, seed) == quantised(area.clone()));
    assert!((8..35).contains(&hits.count()));
}

/// Returns the mean distance from the bicubic reduction over seeds.
fn strength(config: &SecondOrderDegradation) -> f64 {
    let high = quantised(waves(96, 96));
    let plain = resize::reduce(&high, 48, 48);
    let total: f64 = (0..40)
        .map(|seed| f64::from(distance(&apply(config, &high, 2.0, seed), &plain)))
        .sum();
    total / 40.0
}

#[test]
fn presets_are_ordered_by_strength() {
    let [esrgan, apisr, mild] = presets().map(|config| strength(&config));
    assert!(esrgan > 1.3 * mild, "{esrgan} {mild}");
    assert!(apisr > 1.3 * mild, "{apisr} {mild}");
}

/// Name of a setting, and a function that changes its value.
type SettingChange<T> = (&'static str, fn(&mut T));

/// No setting is ignored.
#[test]
fn each_setting_changes_the_result() {
    let high = quantised(waves(24, 24));
    let changes: [SettingChange<SecondOrderDegradation>; 27] = [
        ("blur.probability", |c| c.first.blur.probability = 0.5),
        ("blur.radius", |c| c.first.blur.radius = [1, 1]),
        ("blur.sinc.share", |c| c.first.blur.sinc.share = 0.9),
        ("blur.sinc.radius", |c| c.first.blur.sinc.radius = [12, 12]),
        ("blur.sinc.cutoff", |c| {
            c.first.blur.sinc.cutoff = [0.9, 1.0]
        }),
        ("blur.sinc.small_cutoff", |c| {
            c.first.blur.sinc.small_cutoff = 0.9;
        }),
        ("gaussian", |c| c.first.blur.forms.gaussian = 100.0),
        ("stretched_gaussian", |c| {
            c.first.blur.forms.stretched_gaussian = 100.0;
        }),
        ("generalised form", |c| {
            c.first.blur.forms.generalised = 100.0
        }),
        ("stretched_generalised", |c| {
            c.first.blur.forms.stretched_generalised = 100.0;
        }),
        ("plateau form", |c| c.first.blur.forms.plateau = 100.0),
        ("stretched_plateau", |c| {
            c.first.blur.forms.stretched_plateau = 100.0;
        }),
        ("blur.sigma", |c| c.first.blur.sigma = [3.0, 4.0]),
        ("blur.generalised", |c| {
            c.first.blur.generalised = [0.2, 9.0]
        }),
        ("blur.plateau", |c| c.first.blur.plateau = [0.2, 9.0]),
        ("resize.up", |c| c.first.resize.up = 100.0),
        ("resize.down", |c| c.first.resize.down = 100.0),
        ("resize.keep", |c| c.first.resize.keep = 100.0),
        ("resize.range", |c| c.first.resize.range = [0.9, 1.1]),
        ("resize.anywhere", |c| c.first.resize.anywhere = true),
        ("noise.probability", |c| c.first.noise.probability = 0.5),
        ("noise.gaussian", |c| c.first.noise.gaussian = 0.0),
        ("noise.sigma", |c| c.first.noise.sigma = [40.0, 50.0]),
        ("noise.poisson", |c| c.first.noise.poisson = [4.0, 5.0]),
        ("noise.grey", |c| c.first.noise.grey = 1.0),
        ("compression_last", |c| c.compression_last = 1.0),
        ("last_sinc", |c| c.last_sinc.share = 0.0),
    ];
    let differs = |base: &SecondOrderDegradation, change: fn(&mut SecondOrderDegradation)| {
        let mut changed = base.clone();
        change(&mut changed);
        changed.validate().unwrap();
        (0..80).any(|seed| apply(base, &high, 1.0, seed) != apply(&changed, &high, 1.0, seed))
    };
    for (name, change) in changes {
        assert!(
            differs(&SecondOrderDegradation::real_esrgan(), change),
            "{name}"
        );
    }
    // Compression is tested alone, since noise would hide its effect.
    let mut compressed = resize_only();
    compressed.second.compression = CompressionConfig {
        probability: 1.0,
        predicted: 0.5,
        ..SecondOrderDegradation::real_esrgan().second.compression
    };
    let changes: [SettingChange<CompressionConfig>; 5] = [
        ("probability", |c| c.probability = 0.5),
        ("predicted", |c| c.predicted = 0.0),
        ("quantiser", |c| c.quantiser = [45, 50]),
        ("jpeg_quality", |c| c.jpeg_quality = [10, 20]),
        ("chroma_subsampling", |c| c.chroma_subsampling = 0.0),
    ];
    for (name, change) in changes {
        let mut changed = compressed.clone();
        change(&mut changed.second.compression);
        let differs = (0..20)
            .any(|seed| apply(&compressed, &high, 1.0, seed) != apply(&changed, &high, 1.0, seed));
        assert!(differs, "{name}");
    }
}

#[test]
fn invalid_settings_are_refused() {
    let fails = |change: fn(&mut SecondOrderDegradation), field: &str, words: &str| {
        let mut config = SecondOrderDegradation::mild();
        change(&mut config);
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(&format!("config `{field}`")), "{error}");
        assert!(error.contains(words), "{error}");
        assert!(Degradation::from(config).validate().is_err());
    };
    let second = "second round";
    fails(
        |c| c.first.blur.probability = 1.5,
        "blur.probability",
        "first round: 1.5",
    );
    fails(|c| c.second.blur.sigma = [2.0, 1.0], "blur.sigma", second);
    fails(|c| c.second.blur.sigma = [0.0, 1.0], "blur.sigma", second);
    fails(
        |c| c.second.blur.sigma = [f64::NAN, 1.0],
        "blur.sigma",
        "NaN",
    );
    fails(|c| c.second.blur.radius = [3, 1000], "blur.radius", "1000");
    fails(|c| c.first.blur.forms.plateau = -1.0, "blur.forms", "-1.0");
    fails(
        |c| c.first.blur.sinc.cutoff = [0.2, 1.2],
        "sinc.cutoff",
        "1.2",
    );
    fails(
        |c| c.first.blur.sinc.small_cutoff = 2.0,
        "sinc.small_cutoff",
        "2.0",
    );
    fails(
        |c| (c.first.resize.up, c.first.resize.down, c.first.resize.keep) = (0.0, 0.0, 0.0),
        "resize",
        "one above zero",
    );
    fails(
        |c| c.first.resize.range = [1.1, 1.5],
        "resize.range",
        "1 is not within",
    );
    fails(
        |c| c.first.noise.sigma = [1.0, f64::INFINITY],
        "noise.sigma",
        "inf",
    );
    fails(
        |c| c.first.compression.quantiser = [0, 52],
        "compression.quantiser",
        "52",
    );
    fails(
        |c| c.first.compression.jpeg_quality = [0, 50],
        "compression.jpeg_quality",
        "0",
    );
    fails(|c| c.last_sinc.share = -0.1, "sinc.share", "end: ");
    fails(|c| c.compression_last = 2.0, "compression_last", "end: ");
}

#[test]
fn settings_survive_json_and_unknown_settings_are_refused() {
    for config in presets() {
        let config = Degradation::from(config);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Degradation>(&text).unwrap(), config);
        let wrong = text.replacen("\"sigma\"", "\"stigma\"", 1);
        let error = serde_json::from_str::<Degradation>(&wrong).unwrap_err();
        assert!(error.to_string().contains("unknown field `stigma`"));
    }
    let one: Degradation = serde_json::from_str(r#"{"one_pass": {"clean": 1.0}}"#).unwrap();
    let Degradation::FirstOrder(settings) = one else {
        panic!("another kind");
    };
    assert_eq!(
        (settings.clean, settings.blur),
        (1.0, FirstOrderDegradation::default().blur)
    );
}
