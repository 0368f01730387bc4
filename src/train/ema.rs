//! The exponential moving average (EMA) of a model's weights.

use crate::backend::Backend;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Computes `ema * decay + model * (1 - decay)` for every weight. Both modules must have the same
/// parameter ids.
pub(super) fn update_ema<B: Backend, M: Module<B>>(ema: M, model: &M, decay: f64) -> M {
    let mut weights = CollectWeights(GradientsParams::new());
    model.visit(&mut weights);
    ema.map(&mut BlendWeights {
        weights: weights.0,
        decay,
    })
}

/// Collects weights by parameter id, in burn's container for gradients.
struct CollectWeights(GradientsParams);

impl<B: Backend> ModuleVisitor<B> for CollectWeights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0.register(param.id, param.val());
    }
}

struct BlendWeights {
    weights: GradientsParams,
    decay: f64,
}

impl<B: Backend> ModuleMapper<B> for BlendWeights {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let model = self.weights.remove::<B, D>(param.id);
        let model = model.expect("the EMA has the model's parameters");
        param.map(|ema| ema * self.decay + model * (1.0 - self.decay))
    }
}
