//! The exponential moving average of a model's weights.

use crate::backend::Backend;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// `average * decay + model * (1 - decay)` for every weight; both must have the same parameter ids.
pub(super) fn moving_average<B: Backend, M: Module<B>>(average: M, model: &M, decay: f64) -> M {
    let mut weights = Collect(GradientsParams::new());
    model.visit(&mut weights);
    average.map(&mut Blend {
        weights: weights.0,
        decay,
    })
}

/// Collects tensors by parameter id, in burn's container for the like.
struct Collect(GradientsParams);

impl<B: Backend> ModuleVisitor<B> for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0.register(param.id, param.val());
    }
}

struct Blend {
    weights: GradientsParams,
    decay: f64,
}

impl<B: Backend> ModuleMapper<B> for Blend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let model = self.weights.remove::<B, D>(param.id);
        let model = model.expect("the average has the model's parameters");
        param.map(|average| average * self.decay + model * (1.0 - self.decay))
    }
}
