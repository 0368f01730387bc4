//! Where a student starts: at its teacher's weights, but for the ends, which read and write other channels.

use super::stage::Pair;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::options::attention::Attention;
use crate::train::least_squares::{LeastSquares, Linear};
use crate::train::student::Student;
use crate::unet::{UNet, UNetConfig};
use crate::weights::Weights;
use burn::module::{AutodiffModule, Module, ModuleMapper, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// What the student of a stage starts from.
///
/// Measured in stage 1 on tiny models (UNets of two stages, 32 wide; crops of 64; held-out procedural pictures): a fitted
/// start is several times nearer to the teacher, latent L1 0.52 (ridge 0.01; 0.63 for 0.1) against 2.21 for
/// [`Teacher`](Self::Teacher) and 2.24 for [`Random`](Self::Random). It wants a low learning rate: after 300 steps at 1e-3
/// without a warm-up the lead is lost, 0.36 to 0.49 against 0.27 and 0.29; in another run, at 1e-4, it holds, 0.95 against
/// 4.09 on one batch after 100 steps and 1.71 against 3.57 on one after 200 (1.36 against 4.84 at the start).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Random weights.
    Random,
    /// The teacher's weights and prompts; the first or last convolution is random where its channels are others.
    Teacher,
    /// The same, and convolutions fitted in the place of the random ones.
    Fitted(Fit),
}

/// How a student's first and last convolution are fitted, by least squares over their 3x3 neighbourhoods.
///
/// The first one, where its channels are not the teacher's, is fitted to what the teacher's makes of the encoded picture;
/// then the last one to the prediction that would give what the teacher gives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// Training batches to fit on: with their places, several times the 1728 numbers of 192 channels' neighbourhood.
    pub batches: usize,
    /// Weight of the convolution's squares, over the mean variance of what it reads.
    pub ridge: f64,
}

impl Start {
    /// Checks that the UNet of a student can start so from that of its teacher.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when they differ in more than their ends' channels, when there are no batches, or when the ridge
    /// is not a positive number.
    pub fn validate(&self, student: &UNetConfig, teacher: &UNetConfig) -> Result<()> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        let alike = UNetConfig {
            in_channels: student.in_channels,
            out_channels: student.out_channels,
            ..teacher.clone()
        };
        if *self != Self::Random && alike != *student {
            let reason = "the student's UNet and its teacher's differ within, not only at the ends";
            return fail("start", reason.to_owned());
        }
        if let Self::Fitted(Fit { batches, ridge }) = *self {
            if batches == 0 {
                return fail("start.batches", "is zero".to_owned());
            }
            if !(ridge.is_finite() && ridge > 0.0) {
                return fail("start.ridge", format!("{ridge} is not a positive number"));
            }
        }
        Ok(())
    }

    /// Sets up `student`, which has random weights, on what `aim` makes of the inputs of `pairs`.
    ///
    /// # Errors
    ///
    /// [`Error::NonFiniteOutput`] when the teacher's answers are not finite, [`Error::Config`] when the pictures leave a
    /// fit open.
    pub(super) fn set_up<B: Backend + AutodiffBackend<InnerBackend: Backend>>(
        &self,
        (student, timestep): (&mut Student<B>, f64),
        teacher: &Weights<B::InnerBackend>,
        pairs: &mut dyn Iterator<Item = Pair<B>>,
        aim: impl Fn(Tensor<B::InnerBackend, 4>) -> Aim<B::InnerBackend>,
    ) -> Result<()> {
        if *self == Self::Random {
            return Ok(());
        }
        let prompt = |tensor: &Tensor<_, 2>| Param::from_tensor(Tensor::from_inner(tensor.clone()));
        student.positive = prompt(&teacher.positive);
        student.negative = prompt(&teacher.negative);
        let unet = UNet::from_inner(teacher.unet.clone()).map(&mut Thaw);
        student.unet = unet.with_ends_of(&student.unet);
        let Self::Fitted(fit) = self else {
            return Ok(());
        };
        let pairs = pairs.take(fit.batches);
        let aims: Vec<_> = pairs.map(|pair| aim(pair.input.inner())).collect();
        let first: Option<Vec<_>> = aims
            .iter()
            .map(|aim| Some((aim.z.clone(), aim.first.clone()?)))
            .collect();
        if let Some(first) = first {
            let (weight, bias) = fit.convolution(first)?;
            let (weight, bias) = (Tensor::from_inner(weight), Tensor::from_inner(bias));
            student.unet.set_first_layer(weight, bias);
        }
        // The last one reads what the first one leads to.
        let unet = student.unet.valid();
        let conditioning = unet.condition(timestep, teacher.positive.clone().unsqueeze());
        let last = aims.into_iter().map(|Aim { z, prediction, .. }| {
            (unet.hidden(z, &conditioning, Attention::Global), prediction)
        });
        let (weight, bias) = fit.convolution(last)?;
        let (weight, bias) = (Tensor::from_inner(weight), Tensor::from_inner(bias));
        student.unet.set_last_layer(weight, bias);
        Ok(())
    }
}

/// Lets parameters be trained: those that were loaded without gradients ask for none.
struct Thaw;

impl<B: Backend> ModuleMapper<B> for Thaw {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(Tensor::require_grad)
    }
}

/// What a student's ends are fitted to, in a batch.
pub(super) struct Aim<B: Backend> {
    /// What the student's UNet reads, `[N, in_channels, H, W]`.
    pub(super) z: Tensor<B, 4>,
    /// What its first convolution is to make of that, `[N, widest, H, W]`; none where it is the teacher's.
    pub(super) first: Option<Tensor<B, 4>>,
    /// What it is to predict, `[N, out_channels, H, W]`.
    pub(super) prediction: Tensor<B, 4>,
}

impl Fit {
    /// Weight `[C', C, 3, 3]` and bias `[C']` of the convolution that comes nearest to making the second of the first of
    /// each pair, `[N, C, H, W]` and `[N, C', H, W]`. Borders count, with their zero padding: all crops have them.
    pub(super) fn convolution<B: Backend>(
        &self,
        pairs: impl IntoIterator<Item = (Tensor<B, 4>, Tensor<B, 4>)>,
    ) -> Result<(Tensor<B, 4>, Tensor<B, 1>)> {
        let mut found = None;
        for (from, to) in pairs {
            let [n, c, h, w] = from.dims();
            let [_, outputs, _, _] = to.dims();
            let from = from.pad((1, 1, 1, 1), 0.0);
            let shifted = |i: usize| from.clone().narrow(2, i / 3, h).narrow(3, i % 3, w);
            let neighbours: Tensor<B, 5> = Tensor::stack((0..9).map(shifted).collect(), 2); // [N, C, 9, H, W]
            let neighbours = neighbours.reshape([n, c * 9, h, w]);
            let columns = Tensor::cat(vec![neighbours, to], 1); // [N, 9 * C + C', H, W]
            let samples = columns.swap_dims(0, 1).into_data().convert::<f64>();
            let samples = samples.into_vec::<f64>().expect("converted to f64");
            let new = || (from.device(), LeastSquares::new(c * 9, outputs));
            let (_, squares) = found.get_or_insert_with(new);
            squares.add(&samples, n * h * w);
        }
        let (device, squares) = found.expect("there are batches");
        let Linear { weight, bias } = squares.solve(self.ridge)?;
        let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
        let weight = TensorData::new(weight, [outputs, inputs / 9, 3, 3]);
        let bias = TensorData::new(bias, [outputs]);
        Ok((
            Tensor::from_data(weight, &device),
            Tensor::from_data(bias, &device),
        ))
    }
}
