//! Converts between the parameters of a module and tensors with diffusers' keys, with burn-store.
//!
//! burn-store's adapters convert PyTorch's layouts, in which the matrix of a linear layer is
//! `[output, input]`.

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

/// Returns the key of a parameter's tensor.
pub(crate) fn key(parameter: &TensorSnapshot) -> String {
    keys::from_path(&parameter.full_path())
}

/// Returns all parameters in their stored layout, in the order of [`shapes`]. Values are read
/// lazily.
pub(crate) fn values<B: Backend>(module: &impl Module<B>) -> Vec<TensorSnapshot> {
    module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), false)
}

/// Returns all parameters with their stored shapes, without values. No weights are allocated.
pub(crate) fn shapes<B: Backend>(module: &impl Module<B>) -> Vec<TensorSnapshot> {
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    let stored = |parameter| BurnToPyTorchAdapter.adapt(parameter);
    shapes.parameters.iter().map(stored).collect()
}

/// Counts the parameters from their shapes. No weights are allocated.
pub(crate) fn count<B: Backend>(module: &impl Module<B>) -> usize {
    let shapes = shapes(module).into_iter();
    shapes.map(|parameter| parameter.shape.num_elements()).sum()
}

/// Collects the shapes of parameters. burn-store's own collector would initialise each parameter to
/// get its shape.
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

/// Sets each parameter to the stored values that `read` returns for its key. The values have the
/// stored shape and [`float_type`].
///
/// Parameters that were never used are not initialised, so a parameter never exists twice. On a
/// GPU, the parameters are allocated as persistent memory, without the slack of memory that is
/// reused.
///
/// # Errors
///
/// The first error of `read`. After it, `read` is not called again.
///
/// # Panics
///
/// Panics if `read` panics, or returns values of another shape.
pub(crate) fn fill<B: Backend, M: Module<B>>(
    module: M,
    device: &B::Device,
    read: impl Fn(&str) -> Result<TensorData> + Send + 'static,
) -> Result<M> {
    B::memory_persistent_allocations(device, (module, read), |(module, read)| {
        let read = Rc::new(read);
        // burn-store reduces errors to text. This keeps the original error of `read`.
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
        // The same as `ModuleSnapshot::apply`, which would drop the module twice on a panic.
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
