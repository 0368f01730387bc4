//! Between a module's parameters and tensors under diffusers' keys, by burn-store.
//!
//! Its adapters know how PyTorch keeps a layer: the matrix of a linear layer is `[output, input]` there.

use super::keys;
use crate::backend::Backend;
use crate::backend::precision::float_type;
use crate::error::Result;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use burn_store::{Applier, BurnToPyTorchAdapter, ModuleAdapter, ModuleSnapshot};
use burn_store::{PyTorchToBurnAdapter, TensorSnapshot, TensorSnapshotError};
use std::cell::RefCell;
use std::rc::Rc;

/// The key of a parameter's tensor.
pub(crate) fn key(parameter: &TensorSnapshot) -> String {
    keys::of_path(&parameter.full_path())
}

/// All parameters as stored, in the order of [`shapes`]; values are fetched when asked for.
pub(crate) fn values<B: Backend>(module: &impl Module<B>) -> Vec<TensorSnapshot> {
    module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), false)
}

/// All parameters with their stored shapes, without values: nothing is allocated for weights.
pub(crate) fn shapes<B: Backend>(module: &impl Module<B>) -> Vec<TensorSnapshot> {
    let mut walk = Shapes::default();
    module.visit(&mut walk);
    let stored = |parameter| BurnToPyTorchAdapter.adapt(parameter);
    walk.parameters.iter().map(stored).collect()
}

/// Number of parameters, counted from shapes: nothing is allocated.
pub(crate) fn count<B: Backend>(module: &impl Module<B>) -> usize {
    let shapes = shapes(module).into_iter();
    shapes.map(|parameter| parameter.shape.num_elements()).sum()
}

/// Does what burn-store's collector does, which would initialise each parameter for its shape.
#[derive(Default)]
struct Shapes {
    names: Vec<String>,
    kinds: Vec<String>,
    parameters: Vec<TensorSnapshot>,
}

impl<B: Backend> ModuleVisitor<B> for Shapes {
    fn enter_module(&mut self, name: &str, kind: &str) {
        self.names.push(name.to_owned());
        self.kinds.push(kind.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _kind: &str) {
        self.names.pop();
        self.kinds.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let no_values = || Err(TensorSnapshotError::DataError("only a shape".to_owned()));
        self.parameters.push(TensorSnapshot::from_closure(
            Rc::new(no_values),
            float_type::<B>(),
            param.lazy_shape(),
            self.names.clone(),
            self.kinds.clone(),
            param.id,
        ));
    }
}

/// Sets each parameter to the stored values that `read` gives for its key, of its shape and of [`float_type`].
///
/// Parameters that were never used are not initialised on the way: at no time are there two of one. On a GPU, they are
/// allocated without the slack of memory that is to be reused, as they stay.
///
/// # Errors
///
/// The first of `read`, which is not called again then.
///
/// # Panics
///
/// When `read` does, or gives values of another shape.
pub(crate) fn fill<B: Backend, M: Module<B>>(
    module: M,
    device: &B::Device,
    read: impl Fn(&str) -> Result<TensorData> + Send + 'static,
) -> Result<M> {
    B::memory_persistent_allocations(device, (module, read), |(module, read)| {
        let read = Rc::new(read);
        // burn-store's errors are texts: ours is kept aside.
        let error = Rc::new(RefCell::new(None));
        let parameters = shapes(&module).into_iter().map(|parameter| {
            let (key, read, error) = (key(&parameter), read.clone(), error.clone());
            let values = move || {
                let failed = || TensorSnapshotError::DataError(key.clone());
                if error.borrow().is_some() {
                    return Err(failed());
                }
                read(&key).map_err(|first| {
                    error.replace(Some(first));
                    failed()
                })
            };
            TensorSnapshot::from_closure(
                Rc::new(values),
                parameter.dtype,
                parameter.shape,
                parameter.path_stack.unwrap_or_default(),
                Vec::new(),
                parameter.tensor_id.unwrap_or_default(),
            )
        });
        // As `ModuleSnapshot::apply`, which would drop the module twice on a panic.
        let adapter = Box::new(PyTorchToBurnAdapter);
        let mut applier = Applier::new(parameters.collect(), None, Some(adapter), false);
        let module = module.map(&mut applier);
        let applied = applier.into_result();
        if let Some(error) = error.take() {
            return Err(error);
        }
        let complete = applied.errors.is_empty() && applied.missing.is_empty();
        assert!(complete, "{:?} {:?}", applied.errors, applied.missing);
        Ok(module)
    })
}
