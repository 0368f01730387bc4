//! GenDR and GenDR-Adc with random weights: sizes, guidance, paddings, tiles, and what is refused.

use crate::support::pictures::{self, gradient, largest_difference, picture};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use gendr_pix::backend::Flex;
use gendr_pix::latent::{GenDr, GenDrAdc, LatentConfig, VaeConfig};
use gendr_pix::{
    Edge, Error, OneStep, Padding, Prediction, Restore, Result, Tiling, Upscale, Weights,
};
use image::{DynamicImage, GenericImageView, RgbImage};
use std::sync::LazyLock;

type B = Flex;

/// A small model of either kind, of `config`'s ends.
fn small(config: LatentConfig) -> LatentConfig {
    let unet = pictures::small(config.unet);
    LatentConfig { unet, ..config }
}

static GENDR: LazyLock<GenDr<B>> = LazyLock::new(|| {
    GenDr::new(small(LatentConfig::gendr_nano()), 3, &Default::default()).unwrap()
});
static ADC: LazyLock<GenDrAdc<B>> = LazyLock::new(|| {
    GenDrAdc::new(small(LatentConfig::adc_nano()), 3, &Default::default()).unwrap()
});

type RestoreWith = fn(Tensor<B, 4>, &Restore) -> Result<Tensor<B, 4>>;
type Enlarge = fn(&DynamicImage, &Upscale) -> Result<DynamicImage>;

/// Both models, by name.
const MODELS: [(&str, RestoreWith, Enlarge); 2] = [
    (
        "GenDR",
        |x, options| GENDR.restore(x, options),
        |picture, options| GENDR.upscale_with(picture, options),
    ),
    (
        "GenDR-Adc",
        |x, options| ADC.restore(x, options),
        |picture, options| ADC.upscale_with(picture, options),
    ),
];

#[test]
fn any_size_scale_and_kind() {
    for (name, _, enlarge) in MODELS {
        for (width, height) in [(1, 1), (7, 9), (33, 1), (16, 8)] {
            for scale in [1.0, 1.5, 4.0] {
                let options = Upscale::new().scale(scale);
                let out = enlarge(&gradient(width, height), &options).unwrap();
                let side = |n: u32| (f64::from(n) * scale) as u32;
                assert_eq!(out.dimensions(), (side(width), side(height)), "{name}");
            }
        }
        let grey = DynamicImage::from(gradient(6, 5).to_luma_alpha16());
        let out = enlarge(&grey, &Upscale::new()).unwrap();
        assert_eq!((out.color(), out.dimensions()), (grey.color(), (24, 20)));
    }
    assert_eq!(
        GENDR.upscale(&gradient(3, 2)).unwrap().dimensions(),
        (12, 8)
    );
    assert_eq!(ADC.upscale(&gradient(3, 2)).unwrap().dimensions(), (12, 8));
}

/// Guidance is one line in the latent, not in the picture: with an untrained decoder they are far
/// apart.
#[test]
fn guidance_blends_latents() {
    let x = || picture(16, 24);
    for (name, restore, _) in MODELS {
        let x = x();
        let at = |w: f64| restore(x.clone(), &Restore::new().guidance(w)).unwrap();
        let (negative, positive) = (at(0.0), at(1.0));
        let far = largest_difference(negative.clone(), positive.clone());
        assert!(far > 1e-4, "{name}: {far}");
        let blended = at(2.5);
        let pictures = positive * 2.5 - negative * 1.5;
        assert!(
            largest_difference(blended.clone(), pictures) > 1e-4,
            "{name}"
        );
    }
}

/// The parts put together by hand: what `restore` does with whole cells.
#[test]
fn restore_is_encode_step_decode() {
    let device = Default::default();
    let config = small(LatentConfig::gendr_nano());
    let vae = config.vae.init::<B>(&device).unwrap();
    let unet = config.unet.init::<B>(&device).unwrap();
    let prompt = |seed| Tensor::<B, 2>::full([3, config.unet.cross_attention_dim], seed, &device);
    let (positive, negative) = (prompt(0.5), prompt(-0.25));
    let fold = |prompt: &Tensor<B, 2>| unet.condition(config.timestep, prompt.clone().unsqueeze());
    let (good, bad) = (fold(&positive), fold(&negative));
    let x = picture(24, 16);
    let z = vae.encoder.to_latent(x.clone(), None);
    let x0 = |c| config.onestep.x0(z.clone(), unet.forward(z.clone(), c));
    let expected = vae
        .decoder
        .to_picture(x0(&good) * 1.5 - x0(&bad) * 0.5, None);
    let weights = Weights {
        unet: unet.clone(),
        positive,
        negative,
    };
    let model = GenDr::from_parts(config.clone(), weights, vae.clone(), &device).unwrap();
    assert_eq!(model.config(), &config);
    let found = model.restore(x, &Restore::new().guidance(1.5)).unwrap();
    assert!(largest_difference(found, expected) < 1e-5);
}

#[test]
fn the_ensemble_is_the_mean_of_its_paddings() {
    for (name, restore, _) in MODELS {
        let x = picture(13, 20);
        let mean_over = |paddings: Vec<Padding>| {
            restore(x.clone(), &Restore::new().ensemble(paddings)).unwrap()
        };
        let paddings = [Padding::new(4, 4), Padding::new(0, 3), Padding::new(8, 0)];
        let sum = paddings
            .iter()
            .map(|&p| mean_over(vec![p]))
            .reduce(|a, b| a + b);
        let mean = sum.unwrap() / 3.0;
        assert!(
            largest_difference(mean_over(paddings.to_vec()), mean) < 1e-5,
            "{name}"
        );
    }
}

#[test]
fn edges_differ_where_a_cell_is_filled_up() {
    for (name, restore, _) in MODELS {
        let x = picture(12, 12);
        let with = |edge| restore(x.clone(), &Restore::new().edge(edge)).unwrap();
        let difference = largest_difference(with(Edge::Reflect), with(Edge::Replicate));
        assert!(difference > 0.0, "{name}");
    }
}

/// Each picture of a batch is restored as it is alone.
#[test]
fn a_batch_is_its_pictures() {
    for (name, restore, _) in MODELS {
        let x = picture(16, 8);
        let both = restore(x.clone(), &Restore::new()).unwrap();
        let first = restore(x.narrow(0, 0, 1), &Restore::new()).unwrap();
        let difference = largest_difference(both.narrow(0, 0, 1), first);
        assert!(difference < 1e-5, "{name}: {difference}");
    }
}

/// Tiles no smaller than the picture are none; smaller ones change the result.
#[test]
fn tiles_are_used_where_asked_for() {
    let device = Default::default();
    let config = small(LatentConfig::gendr_nano());
    let adc_config = small(LatentConfig::adc_nano());
    let x = picture(64, 48);
    let mut gendr = GenDr::<B>::new(config, 2, &device).unwrap();
    let mut adc = GenDrAdc::<B>::new(adc_config, 2, &device).unwrap();
    let options = Restore::new();
    let whole = [
        gendr.restore(x.clone(), &options).unwrap(),
        adc.restore(x.clone(), &options).unwrap(),
    ];
    for (side, same) in [(8, true), (4, false)] {
        let tiling = Tiling::new(8 * side, 16).unwrap();
        gendr = gendr.tiling(Some(tiling));
        adc = adc.tiling(Some(tiling));
        let tiled = [
            gendr.restore(x.clone(), &options).unwrap(),
            adc.restore(x.clone(), &options).unwrap(),
        ];
        for (tiled, whole) in tiled.into_iter().zip(&whole) {
            assert_eq!(tiled.dims(), whole.dims());
            let difference = largest_difference(tiled, whole.clone());
            assert_eq!(difference == 0.0, same, "{side}: {difference}");
        }
    }
}

#[test]
fn options_out_of_range() {
    for (name, restore, enlarge) in MODELS {
        for (expected, options) in [
            ("guidance", Restore::new().guidance(-1.0)),
            ("ensemble", Restore::new().ensemble(vec![])),
            (
                "ensemble",
                Restore::new().ensemble(vec![Padding::new(0, 9)]),
            ),
            ("tiling", Restore::new().tiling(Tiling::new(7, 1).unwrap())),
            ("memory_budget", Restore::new().memory_budget(1 << 40)),
        ] {
            let upscale = Upscale::new().restore(options.clone());
            for error in [
                restore(picture(8, 8), &options).unwrap_err(),
                enlarge(&gradient(4, 4), &upscale).unwrap_err(),
            ] {
                assert!(
                    matches!(error, Error::Option { option, .. } if option == expected),
                    "{name}: {error}"
                );
            }
        }
        let error = enlarge(&gradient(4, 4), &Upscale::new().scale(0.5)).unwrap_err();
        let is_scale = matches!(error, Error::Option { option, .. } if option == "scale");
        assert!(is_scale, "{name}: {error}");
        let limit = Upscale::new().max_output_pixels(255);
        let error = enlarge(&gradient(4, 4), &limit).unwrap_err();
        assert!(
            matches!(error, Error::OutputTooLarge { .. }),
            "{name}: {error}"
        );
        let error = enlarge(&RgbImage::new(0, 3).into(), &Upscale::new()).unwrap_err();
        assert!(
            matches!(error, Error::EmptyPicture { .. }),
            "{name}: {error}"
        );
        for shape in [[1, 4, 8, 8], [1, 3, 0, 8]] {
            let x = Tensor::zeros(shape, &Default::default());
            let error = restore(x, &Restore::new()).unwrap_err();
            assert!(matches!(error, Error::Shape { .. }), "{name}: {error}");
        }
    }
}

#[test]
fn tilings_out_of_range() {
    for (side, overlap) in [(0, 0), (8, 8), (8, 9)] {
        let error = Tiling::new(side, overlap).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Option {
                    option: "tiling",
                    ..
                }
            ),
            "{error}"
        );
    }
}

/// A config that contradicts itself names the field; each case changes one number of a good one.
#[test]
fn configs() {
    type Change = fn(&mut LatentConfig);
    let both: [(&str, Change); 14] = [
        ("block_out_channels", |c| c.vae.block_out_channels.clear()),
        ("block_out_channels", |c| c.vae.block_out_channels[1] = 6),
        ("block_out_channels", |c| {
            c.vae.block_out_channels = vec![4; 18]
        }),
        ("block_out_channels", |c| c.unet.block_out_channels.clear()),
        ("latent_channels", |c| c.vae.latent_channels = 0),
        ("layers_per_block", |c| c.vae.layers_per_block = 0),
        ("norm_num_groups", |c| c.vae.norm_num_groups = 0),
        ("scaling_factor", |c| c.vae.scaling_factor = 0.0),
        ("shift_factor", |c| c.vae.shift_factor = f64::NAN),
        ("out_channels", |c| c.unet.out_channels = 192),
        ("in_channels", |c| c.unet.in_channels = 3),
        ("timestep", |c| c.timestep = -1.0),
        ("guidance", |c| c.guidance = f64::INFINITY),
        ("ensemble", |c| c.ensemble = vec![Padding::new(9, 0)]),
    ];
    let device = Default::default();
    let field = |error: Error| match error {
        Error::Config { field, .. } => field,
        other => panic!("{other}"),
    };
    for (expected, change) in both {
        let [mut gendr, mut adc] = [LatentConfig::gendr_nano(), LatentConfig::adc_nano()];
        change(&mut gendr);
        change(&mut adc);
        assert_eq!(
            field(GenDr::<B>::new(gendr, 4, &device).unwrap_err()),
            expected
        );
        assert_eq!(
            field(GenDrAdc::<B>::new(adc, 4, &device).unwrap_err()),
            expected
        );
    }
    // Each model refuses the other's config.
    let [gendr, adc] = [LatentConfig::gendr_nano(), LatentConfig::adc_nano()];
    assert_eq!(
        field(GenDr::<B>::new(adc.clone(), 4, &device).unwrap_err()),
        "in_channels"
    );
    assert_eq!(
        field(GenDrAdc::<B>::new(gendr, 4, &device).unwrap_err()),
        "in_channels"
    );
    let noise = LatentConfig {
        onestep: OneStep::paper(Prediction::Noise),
        ..adc.clone()
    };
    assert_eq!(
        field(GenDrAdc::<B>::new(noise, 4, &device).unwrap_err()),
        "onestep"
    );
    assert_eq!(
        field(GenDrAdc::<B>::new(adc, 0, &device).unwrap_err()),
        "tokens"
    );
}

#[test]
fn configs_pass_through_json() {
    for config in [LatentConfig::gendr_sd21(), LatentConfig::adc_nano()] {
        let json = serde_json::to_string(&config).unwrap();
        let read: LatentConfig = serde_json::from_str(&json).unwrap();
        assert_eq!(read, config);
        let unknown = json.replacen("\"timestep\"", "\"time\"", 1);
        assert!(serde_json::from_str::<LatentConfig>(&unknown).is_err());
    }
    let vae = serde_json::to_string(&VaeConfig::vae16()).unwrap();
    assert!(serde_json::from_str::<VaeConfig>(&vae.replacen('{', "{\"x\":1,", 1)).is_err());
}

#[test]
fn full_size_configs_are_valid() {
    LatentConfig::gendr_sd21().validate_gendr().unwrap();
    LatentConfig::adc_sd21().validate_adc().unwrap();
}

/// Weights of zero: as of a backend that computes nothing.
struct Zero;

impl ModuleMapper<B> for Zero {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|tensor| tensor.zeros_like())
    }
}

#[test]
fn an_output_of_one_colour_is_an_error() {
    let device = Default::default();
    let picture = gradient(12, 10);
    let dead = |config: &LatentConfig| Weights {
        unet: config.unet.init::<B>(&device).unwrap().map(&mut Zero),
        positive: Tensor::zeros([1, config.unet.cross_attention_dim], &device),
        negative: Tensor::zeros([1, config.unet.cross_attention_dim], &device),
    };
    let config = small(LatentConfig::gendr_nano());
    let vae = config.vae.init(&device).unwrap().map(&mut Zero);
    let gendr = GenDr::from_parts(config.clone(), dead(&config), vae, &device).unwrap();
    let config = small(LatentConfig::adc_nano());
    let decoder = config.vae.init_decoder(&device).unwrap().map(&mut Zero);
    let adc = GenDrAdc::from_parts(config.clone(), dead(&config), decoder, &device).unwrap();
    for output in [gendr.upscale(&picture), adc.upscale(&picture)] {
        assert!(matches!(output, Err(Error::ConstantOutput)), "{output:?}");
    }
}

#[test]
fn a_memory_budget_is_refused() {
    let options = Upscale::new().memory_budget(1 << 40);
    for (name, _, enlarge) in MODELS {
        let error = enlarge(&gradient(4, 4), &options).unwrap_err();
        let option = "memory_budget";
        assert!(
            matches!(error, Error::Option { option: found, .. } if found == option),
            "{name}"
        );
    }
}
