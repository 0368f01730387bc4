//! Walks over a UNet's parameters, each by its key and with its shape as stored.

use super::keys;
use crate::backend::Backend;
use crate::error::Result;
use crate::unet::UNet;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::BackendTypes;
use burn::tensor::{DType, Element, Tensor, TensorData};

/// Where a walk stands: the names of the fields down to here, and the kinds of what holds them.
#[derive(Default)]
struct Position {
    names: Vec<String>,
    kinds: Vec<String>,
}

impl Position {
    fn enter(&mut self, name: &str, kind: &str) {
        self.names.push(name.to_owned());
        self.kinds.push(kind.to_owned());
    }

    fn exit(&mut self) {
        self.names.pop();
        self.kinds.pop();
    }

    fn key(&self) -> String {
        keys::of_path(&self.names.join("."))
    }

    /// Whether the parameter is a linear layer's matrix: burn keeps it as `[input, output]`, PyTorch as
    /// `[output, input]`.
    fn transposed(&self) -> bool {
        self.kinds
            .last()
            .is_some_and(|kind| kind == "Struct:Linear")
            && self.names.last().is_some_and(|name| name == "weight")
    }
}

/// Keys and stored shapes of all parameters, in the order of [`values`]; nothing is allocated for weights.
pub(crate) fn shapes<B: Backend>(unet: &UNet<B>) -> Vec<(String, Vec<usize>)> {
    let mut walk = Shapes {
        position: Position::default(),
        shapes: Vec::new(),
    };
    unet.visit(&mut walk);
    walk.shapes
}

struct Shapes {
    position: Position,
    shapes: Vec<(String, Vec<usize>)>,
}

impl<B: Backend> ModuleVisitor<B> for Shapes {
    fn enter_module(&mut self, name: &str, kind: &str) {
        self.position.enter(name, kind);
    }

    fn exit_module(&mut self, _name: &str, _kind: &str) {
        self.position.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let mut shape = param.lazy_shape().to_vec();
        if self.position.transposed() {
            shape.reverse();
        }
        self.shapes.push((self.position.key(), shape));
    }
}

/// Hands each parameter's key and values, as stored, to `sink`, up to its first error.
///
/// # Errors
///
/// That of `sink`.
pub(crate) fn values<B: Backend>(
    unet: &UNet<B>,
    sink: impl FnMut(&str, TensorData) -> Result<()>,
) -> Result<()> {
    let mut walk = Values {
        position: Position::default(),
        sink,
        result: Ok(()),
    };
    unet.visit(&mut walk);
    walk.result
}

struct Values<F> {
    position: Position,
    sink: F,
    result: Result<()>,
}

impl<B: Backend, F: FnMut(&str, TensorData) -> Result<()>> ModuleVisitor<B> for Values<F> {
    fn enter_module(&mut self, name: &str, kind: &str) {
        self.position.enter(name, kind);
    }

    fn exit_module(&mut self, _name: &str, _kind: &str) {
        self.position.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if self.result.is_err() {
            return;
        }
        let mut tensor = param.val();
        if self.position.transposed() {
            tensor = tensor.swap_dims(0, 1);
        }
        self.result = (self.sink)(&self.position.key(), tensor.into_data());
    }
}

/// Sets each parameter to what `source` gives for its key, stored shape transposed where told to, and precision.
///
/// Parameters that were never used are not initialised on the way: at no time are there two of one.
///
/// # Errors
///
/// The first of `source`.
pub(crate) fn fill<B: Backend>(
    unet: UNet<B>,
    source: impl FnMut(&str, bool, DType) -> Result<TensorData>,
) -> Result<UNet<B>> {
    let mut walk = Fill {
        position: Position::default(),
        source,
        result: Ok(()),
    };
    let unet = unet.map(&mut walk);
    walk.result.map(|()| unet)
}

struct Fill<F> {
    position: Position,
    source: F,
    result: Result<()>,
}

impl<B, F> ModuleMapper<B> for Fill<F>
where
    B: Backend,
    F: FnMut(&str, bool, DType) -> Result<TensorData>,
{
    fn enter_module(&mut self, name: &str, kind: &str) {
        self.position.enter(name, kind);
    }

    fn exit_module(&mut self, _name: &str, _kind: &str) {
        self.position.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.result.is_err() {
            return param;
        }
        let key = self.position.key();
        match (self.source)(&key, self.position.transposed(), float_type::<B>()) {
            Ok(data) => {
                let id = param.id;
                let tensor = upload(data, &param.lazy_device());
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.result = Err(error);
                param
            }
        }
    }
}

/// The precision of weights in memory.
pub(crate) fn float_type<B: Backend>() -> DType {
    <B as BackendTypes>::FloatElem::dtype()
}

/// A tensor of weights, which stay: on a GPU, allocated without the slack of memory that is to be reused.
pub(crate) fn upload<B: Backend, const D: usize>(
    data: TensorData,
    device: &B::Device,
) -> Tensor<B, D> {
    let dtype = data.dtype;
    B::memory_persistent_allocations(device, data, |data| {
        Tensor::from_data(data, (device, dtype))
    })
}
