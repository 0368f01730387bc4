//! Initialises a student from its teacher's weights. The first and last convolutions have other
//! channels and need more.

use super::objective::Pair;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::options::attention::Attention;
use crate::train::least_squares::{AffineMap, LeastSquares};
use crate::train::student::Student;
use crate::unet::{UNet, UNetConfig};
use crate::weights::Weights;
use burn::module::{AutodiffModule, Module, ModuleMapper, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// The initial weights of a stage's student.
///
/// Measured in stage 1 on tiny models (UNets of two resolutions, 32 channels wide; crops of 64;
/// held-out procedural pictures), a fitted student starts several times nearer to the teacher: its
/// latent L1 is 0.52 with ridge 0.01 and 0.63 with ridge 0.1, against 2.21 for
/// [`Teacher`](Self::Teacher) and 2.24 for [`Random`](Self::Random).
///
/// A fitted student needs a low learning rate. After 300 steps at 1e-3 without a warm-up, it lost
/// its lead: 0.36 to 0.49, against 0.27 and 0.29. In another run at 1e-4, it kept its lead: 1.36
/// against 4.84 at the start, 0.95 against 4.09 on one batch after 100 steps, and 1.71 against 3.57
/// on one batch after 200 steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StudentInit {
    /// Random weights.
    Random,
    /// The teacher's weights and prompts. A first or last convolution whose channels differ from
    /// the teacher's is random.
    Teacher,
    /// Like [`Teacher`](Self::Teacher), with fitted instead of random convolutions.
    Fitted(LeastSquaresFit),
}

/// A least-squares fit of a student's first and last convolutions over 3x3 neighbourhoods.
///
/// If the first convolution's channels differ from the teacher's, it is fitted to the output of the
/// teacher's first convolution for the encoded picture. Then the last convolution is fitted to the
/// prediction that yields the teacher's output.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeastSquaresFit {
    /// Number of training batches to fit on. Their positions should be several times as many as the
    /// 1728 values in a neighbourhood of 192 channels.
    pub batches: usize,
    /// Weight of the convolution's squared weights, relative to the mean variance of its inputs.
    pub ridge: f64,
}

impl StudentInit {
    /// Checks that a UNet `student` can be initialised in this way from a UNet `teacher`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if they differ in more than their input and output channels, if the number
    /// of batches is zero, or if the ridge is not a positive number.
    pub fn validate(&self, student: &UNetConfig, teacher: &UNetConfig) -> Result<()> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        let alike = UNetConfig {
            in_channels: student.in_channels,
            out_channels: student.out_channels,
            ..teacher.clone()
        };
        if *self != Self::Random && alike != *student {
            let reason = "the student's UNet may differ from the teacher's in input and output channels only";
            return fail("start", reason.to_owned());
        }
        if let Self::Fitted(LeastSquaresFit { batches, ridge }) = *self {
            if batches == 0 {
                return fail("start.batches", "must be at least 1".to_owned());
            }
            if !(ridge.is_finite() && ridge > 0.0) {
                return fail("start.ridge", format!("{ridge} is not a positive number"));
            }
        }
        Ok(())
    }

    /// Initialises `student`, which has random weights. `fit_target` computes the targets of the
    /// fit from the inputs of `pairs`.
    ///
    /// # Errors
    ///
    /// [`Error::NonFiniteOutput`] if the teacher's output is not finite, and [`Error::Config`] if
    /// the pictures do not determine a fit.
    pub(super) fn apply<B: Backend + AutodiffBackend<InnerBackend: Backend>>(
        &self,
        (student, timestep): (&mut Student<B>, f64),
        teacher: &Weights<B::InnerBackend>,
        pairs: &mut dyn Iterator<Item = Pair<B>>,
        fit_target: impl Fn(Tensor<B::InnerBackend, 4>) -> FitTarget<B::InnerBackend>,
    ) -> Result<()> {
        if *self == Self::Random {
            return Ok(());
        }
        let prompt = |tensor: &Tensor<_, 2>| Param::from_tensor(Tensor::from_inner(tensor.clone()));
        student.positive = prompt(&teacher.positive);
        student.negative = prompt(&teacher.negative);
        let unet = UNet::from_inner(teacher.unet.clone()).map(&mut RequireGrad);
        student.unet = unet.with_ends_from(&student.unet);
        let Self::Fitted(fit) = self else {
            return Ok(());
        };
        let pairs = pairs.take(fit.batches);
        let targets: Vec<_> = pairs.map(|pair| fit_target(pair.input.inner())).collect();
        let first: Option<Vec<_>> = targets
            .iter()
            .map(|target| Some((target.z.clone(), target.first_layer.clone()?)))
            .collect();
        if let Some(first) = first {
            let (weight, bias) = fit.convolution(first)?;
            let (weight, bias) = (Tensor::from_inner(weight), Tensor::from_inner(bias));
            student.unet.set_first_layer(weight, bias);
        }
        // The input of the last convolution depends on the first one.
        let unet = student.unet.valid();
        let conditioning = unet.condition(timestep, teacher.positive.clone().unsqueeze());
        let last = targets.into_iter().map(|FitTarget { z, prediction, .. }| {
            (unet.hidden(z, &conditioning, Attention::Global), prediction)
        });
        let (weight, bias) = fit.convolution(last)?;
        let (weight, bias) = (Tensor::from_inner(weight), Tensor::from_inner(bias));
        student.unet.set_last_layer(weight, bias);
        Ok(())
    }
}

/// Makes parameters trainable: those of a frozen model do not require gradients.
struct RequireGrad;

impl<B: Backend> ModuleMapper<B> for RequireGrad {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(Tensor::require_grad)
    }
}

/// Inputs and targets of the fit for one batch.
pub(super) struct FitTarget<B: Backend> {
    /// Input of the student's UNet, `[N, in_channels, H, W]`.
    pub(super) z: Tensor<B, 4>,
    /// Target of the first convolution, `[N, block_out_channels[0], H, W]`; `None` if it has the
    /// teacher's weights.
    pub(super) first_layer: Option<Tensor<B, 4>>,
    /// Target of the UNet's prediction, `[N, out_channels, H, W]`.
    pub(super) prediction: Tensor<B, 4>,
}

impl LeastSquaresFit {
    /// Fits a convolution to pairs of input `[N, C, H, W]` and output `[N, C', H, W]`. Returns its
    /// weight `[C', C, 3, 3]` and bias `[C']`. The fit includes the borders with their zero
    /// padding, since all crops have them.
    pub(super) fn convolution<B: Backend>(
        &self,
        pairs: impl IntoIterator<Item = (Tensor<B, 4>, Tensor<B, 4>)>,
    ) -> Result<(Tensor<B, 4>, Tensor<B, 1>)> {
        let mut fit = None;
        for (input, output) in pairs {
            let [n, c, h, w] = input.dims();
            let [_, outputs, _, _] = output.dims();
            let padded = input.pad((1, 1, 1, 1), 0.0);
            let shifted = |i: usize| padded.clone().narrow(2, i / 3, h).narrow(3, i % 3, w);
            let neighbours: Tensor<B, 5> = Tensor::stack((0..9).map(shifted).collect(), 2); // [N, C, 9, H, W]
            let neighbours = neighbours.reshape([n, c * 9, h, w]);
            let columns = Tensor::cat(vec![neighbours, output], 1); // [N, 9 * C + C', H, W]
            let samples = columns.swap_dims(0, 1).into_data().convert::<f64>();
            let samples = samples.into_vec::<f64>().expect("converted to f64");
            let new = || (padded.device(), LeastSquares::new(c * 9, outputs));
            let (_, squares) = fit.get_or_insert_with(new);
            squares.add(&samples, n * h * w);
        }
        let (device, squares) = fit.expect("there are batches");
        let AffineMap { weight, bias } = squares.solve(self.ridge)?;
        let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
        let weight = TensorData::new(weight, [outputs, inputs / 9, 3, 3]);
        let bias = TensorData::new(bias, [outputs]);
        Ok((
            Tensor::from_data(weight, &device),
            Tensor::from_data(bias, &device),
        ))
    }
}
