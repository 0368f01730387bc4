//! What cannot work is a typed error that names the option, the config's field or the picture.
//! (Weights files: `weights.rs`.)

use burn::tensor::Tensor;
use gendr_pix::backend::Flex;
use gendr_pix::unet::UNetConfig;
use gendr_pix::{
    Error, GenDrPix, GenDrPixConfig, OneStep, Padding, Prediction, Restore, Target, Upscale,
};
use image::{DynamicImage, Rgb32FImage, RgbImage};

type B = Flex;

fn model() -> GenDrPix<B> {
    let unet = UNetConfig {
        block_out_channels: vec![8],
        layers_per_block: vec![1],
        down_attention: vec![false],
        up_attention: vec![false],
        num_heads: vec![1],
        ..UNetConfig::nano()
    };
    let config = GenDrPixConfig {
        unet,
        ..GenDrPixConfig::nano()
    };
    GenDrPix::new(config, 1, &Default::default()).unwrap()
}

fn picture() -> DynamicImage {
    RgbImage::new(4, 4).into()
}

#[test]
fn scales() {
    for scale in [0.0, -2.0, 0.5, f64::NAN, f64::INFINITY] {
        let error = model()
            .upscale_with(&picture(), &Upscale::new().scale(scale))
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::Option {
                    option: "scale",
                    ..
                }
            ),
            "{scale}: {error}"
        );
    }
}

#[test]
fn guidance_scales() {
    for guidance in [-0.1, f64::NAN, f64::INFINITY] {
        let options = Upscale::new().guidance(guidance);
        let error = model().upscale_with(&picture(), &options).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Option {
                    option: "guidance",
                    ..
                }
            ),
            "{guidance}: {error}"
        );
    }
}

#[test]
fn targets() {
    for target in [
        Target::Width(3),
        Target::Height(0),
        Target::Longest(3),
        Target::Size(8, 3),
    ] {
        let options = Upscale::new().target(target);
        let error = model().upscale_with(&picture(), &options).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Option {
                    option: "target",
                    ..
                }
            ),
            "{target:?}: {error}"
        );
    }
}

#[test]
fn fidelities() {
    for fidelity in [-0.1, 1.1, f64::NAN] {
        let options = Upscale::new().fidelity(fidelity);
        let error = model().upscale_with(&picture(), &options).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Option {
                    option: "fidelity",
                    ..
                }
            ),
            "{fidelity}: {error}"
        );
    }
}

#[test]
fn ensembles() {
    for paddings in [vec![], vec![Padding::new(4, 9)]] {
        let options = Upscale::new().ensemble(paddings);
        let error = model().upscale_with(&picture(), &options).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Option {
                    option: "ensemble",
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn empty_pictures() {
    for (width, height) in [(0, 0), (0, 5), (5, 0)] {
        let error = model()
            .upscale(&RgbImage::new(width, height).into())
            .unwrap_err();
        assert!(matches!(error, Error::EmptyPicture { .. }), "{error}");
    }
}

#[test]
fn pictures_with_nan() {
    let mut picture = Rgb32FImage::new(3, 3);
    picture.get_pixel_mut(1, 1)[2] = f32::NAN;
    let error = model().upscale(&picture.into()).unwrap_err();
    assert!(matches!(error, Error::NonFinitePicture), "{error}");
}

#[test]
fn outputs_over_the_limit() {
    let error = model()
        .upscale_with(&picture(), &Upscale::new().max_output_pixels(255))
        .unwrap_err();
    let Error::OutputTooLarge {
        width: 16,
        height: 16,
        limit: 255,
    } = error
    else {
        panic!("{error}");
    };
    model()
        .upscale_with(&picture(), &Upscale::new().max_output_pixels(256))
        .unwrap();
    // So large that the sides alone would overflow.
    let error = model()
        .upscale_with(&picture(), &Upscale::new().scale(1e300))
        .unwrap_err();
    assert!(matches!(error, Error::OutputTooLarge { .. }), "{error}");
}

#[test]
fn tensors_of_another_shape() {
    for shape in [[1, 4, 8, 8], [1, 3, 0, 8], [0, 3, 8, 8]] {
        let x = Tensor::<B, 4>::zeros(shape, &Default::default());
        let error = model().restore(x, &Restore::new()).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Shape {
                    what: "picture",
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
    type Change = fn(&mut GenDrPixConfig);
    let cases: [(&str, Change); 20] = [
        ("block_out_channels", |c| c.unet.block_out_channels.clear()),
        ("block_out_channels", |c| c.unet.block_out_channels[1] = 100),
        ("block_out_channels", |c| c.unet.block_out_channels[0] = 0),
        ("num_heads", |c| c.unet.num_heads[2] = 5),
        ("num_heads", |c| c.unet.num_heads[2] = 0),
        ("num_heads", |c| c.unet.num_heads.truncate(1)),
        ("layers_per_block", |c| c.unet.layers_per_block[1] = 0),
        ("layers_per_block", |c| c.unet.layers_per_block.push(1)),
        ("down_attention", |c| c.unet.down_attention.clear()),
        ("up_attention", |c| c.unet.up_attention.push(true)),
        ("norm_num_groups", |c| c.unet.norm_num_groups = 0),
        ("norm_eps", |c| c.unet.norm_eps = -1e-5),
        ("cross_attention_dim", |c| c.unet.cross_attention_dim = 0),
        ("in_channels", |c| c.unet.in_channels = 16),
        ("in_channels", |c| c.factor = usize::MAX),
        ("factor", |c| c.factor = 0),
        ("timestep", |c| c.timestep = f64::NAN),
        ("guidance", |c| c.guidance = -1.0),
        ("ensemble", |c| c.ensemble.clear()),
        ("onestep", |c| {
            c.onestep = OneStep {
                prediction: Prediction::Velocity,
                alpha: 1.0,
                sigma: 1.0,
            }
        }),
    ];
    for (expected, change) in cases {
        let mut config = GenDrPixConfig::nano();
        change(&mut config);
        match GenDrPix::<B>::new(config, 4, &Default::default()).unwrap_err() {
            Error::Config { field, .. } if field == expected => {}
            other => panic!("{expected}: {other}"),
        }
    }
    let error = GenDrPix::<B>::new(GenDrPixConfig::nano(), 0, &Default::default()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Config {
                field: "tokens",
                ..
            }
        ),
        "{error}"
    );
}
