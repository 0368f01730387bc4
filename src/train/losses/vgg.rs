//! The frozen convolutional layers of VGG (Simonyan and Zisserman 2015), the feature extractor of
//! the perceptual loss.

use crate::backend::Backend;
use crate::backend::precision::float_type;
use crate::error::{Error, Result};
use crate::weights::WeightsSource;
use crate::weights::checkpoint::{Checkpoint, TensorSpec};
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Side of every kernel.
const KERNEL: usize = 3;
/// Means and standard deviations of ImageNet's R, G and B in 0..1. The weights were trained on
/// inputs normalised with them.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f64; 3] = [0.229, 0.224, 0.225];
/// Keys of the classifier in torchvision's file, which the features do not need.
const CLASSIFIER: [&str; 6] = [
    "classifier.0.weight",
    "classifier.0.bias",
    "classifier.3.weight",
    "classifier.3.bias",
    "classifier.6.weight",
    "classifier.6.bias",
];

/// Sizes of a VGG. A stage is a sequence of 3x3 convolutions with ReLU. Between stages, max pooling
/// halves the sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VggConfig {
    /// Number of channels of each stage.
    pub widths: Vec<usize>,
    /// Number of convolutions of each stage.
    pub convolutions: Vec<usize>,
}

impl VggConfig {
    /// VGG16: 14,714,688 parameters without its classifier. Source: configuration "D" of
    /// torchvision's `vgg.py`.
    #[must_use]
    pub fn vgg16() -> Self {
        Self {
            widths: vec![64, 128, 256, 512, 512],
            convolutions: vec![2, 2, 3, 3, 3],
        }
    }

    /// Checks the sizes.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there is no stage, the lists differ in length, or a stage is empty.
    fn validate(&self) -> Result<()> {
        let fail = |field, reason: String| Err(Error::Config { field, reason });
        if self.widths.is_empty() || self.widths.contains(&0) {
            let reason = format!(
                "{:?}: there must be a stage, and each needs channels",
                self.widths
            );
            return fail("perceptual.widths", reason);
        }
        if self.convolutions.len() != self.widths.len() || self.convolutions.contains(&0) {
            let reason = format!(
                "{:?}: each of the {} stages needs at least one",
                self.convolutions,
                self.widths.len()
            );
            return fail("perceptual.convolutions", reason);
        }
        Ok(())
    }

    /// For each stage, the index in `features` and the channels (out, in) of its convolutions. ReLU
    /// and pooling layers have indices too.
    fn layers(&self) -> Vec<Vec<(usize, [usize; 2])>> {
        let (mut number, mut channels) = (0, MEAN.len());
        let mut stage = |(&width, &count): (&usize, &usize)| {
            let convolutions = (0..count)
                .map(|_| {
                    let layer = (number, [width, channels]);
                    (number, channels) = (number + 2, width);
                    layer
                })
                .collect();
            number += 1;
            convolutions
        };
        self.widths
            .iter()
            .zip(&self.convolutions)
            .map(&mut stage)
            .collect()
    }
}

/// A frozen convolution.
#[derive(Clone, Debug)]
struct VggConvolution<B: Backend> {
    weight: Tensor<B, 4>,
    bias: Tensor<B, 1>,
}

/// A frozen VGG without its classifier.
#[derive(Clone, Debug)]
pub(super) struct Vgg<B: Backend> {
    stages: Vec<Vec<VggConvolution<B>>>,
}

impl<B: Backend> Vgg<B> {
    /// Loads a safetensors file with torchvision's keys, `features.N.weight` and `features.N.bias`.
    /// The file may contain no other tensors than these and the six of the classifier.
    ///
    /// # Errors
    ///
    /// The errors of [`PerceptualLoss::load_with`](super::PerceptualLoss::load_with).
    pub(super) fn load(config: &VggConfig, path: &Path, device: &B::Device) -> Result<Self> {
        config.validate()?;
        let mut file = Checkpoint::open(WeightsSource::File(path.to_owned()))?;
        file.ignore(CLASSIFIER);
        let layers = config.layers();
        let key = |number: usize, parameter: &str| format!("features.{number}.{parameter}");
        let specs: Vec<TensorSpec> = layers
            .iter()
            .flatten()
            .flat_map(|&(number, [out, within])| {
                [
                    ("weight", vec![out, within, KERNEL, KERNEL]),
                    ("bias", vec![out]),
                ]
                .map(|(parameter, shape)| TensorSpec {
                    key: key(number, parameter),
                    shape: shape.into_iter().map(Some).collect(),
                })
            })
            .collect();
        file.check(&specs)?;
        let dtype = float_type::<B>();
        let read = |number| -> Result<_> {
            let parameter = |name| file.read(&key(number, name), dtype);
            Ok(VggConvolution {
                weight: Tensor::from_data(parameter("weight")?, (device, dtype)),
                bias: Tensor::from_data(parameter("bias")?, (device, dtype)),
            })
        };
        let stages = layers.iter().map(|stage| {
            let convolutions = stage.iter().map(|&(number, _)| read(number));
            convolutions.collect::<Result<_>>()
        });
        Ok(Self {
            stages: stages.collect::<Result<_>>()?,
        })
    }

    /// Computes the output of each stage's last ReLU.
    ///
    /// # Shapes
    ///
    /// - picture: `[N, 3, H, W]`, RGB in -1..1
    /// - output `k` from 0: `[N, widths[k], H / 2^k, W / 2^k]`, rounded down
    pub(super) fn features(&self, picture: Tensor<B, 4>) -> Vec<Tensor<B, 4>> {
        let mut x = normalised(picture);
        let mut features = Vec::with_capacity(self.stages.len());
        for (k, stage) in self.stages.iter().enumerate() {
            if k > 0 {
                x = max_pool2d(x, [2, 2], [2, 2], [0, 0], [1, 1], false);
            }
            for VggConvolution { weight, bias } in stage {
                x = relu(B::convolution(x, weight.clone(), bias.clone(), 1));
            }
            features.push(x.clone());
        }
        features
    }

    /// Returns the smallest side of a picture for which the last stage has at least one pixel.
    pub(super) fn smallest_side(&self) -> usize {
        1 << (self.stages.len() - 1)
    }
}

/// Normalises RGB in -1..1 to mean zero and standard deviation one over ImageNet.
fn normalised<B: Backend>(picture: Tensor<B, 4>) -> Tensor<B, 4> {
    let device = picture.device();
    // The value in 0..1 is (x + 1) / 2.
    let constant = |f: fn(usize) -> f64| {
        let values: Vec<f64> = (0..MEAN.len()).map(f).collect();
        Tensor::from_data(TensorData::new(values, [1, MEAN.len(), 1, 1]), &device)
    };
    let shift = constant(|c| 2.0 * MEAN[c] - 1.0);
    let scale = constant(|c| (2.0 * DEVIATION[c]).recip());
    (picture - shift) * scale
}
