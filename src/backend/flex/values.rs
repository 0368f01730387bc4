//! Access to the values of tensors in memory order, and tensors from values.

use super::element::Element;
use super::{copy, memory};
use crate::backend::Flex;
use burn::tensor::{DType, Tensor, TensorData, TensorPrimitive};
use burn_flex::FlexTensor;
use std::marker::PhantomData;
use std::ops::Deref;

/// The values of a tensor in memory order. They are copied only if the tensor has another order.
/// When dropped, their memory is recycled if no other tensor shares it.
pub(super) struct Values<E: Element>(Option<FlexTensor>, PhantomData<E>);

impl<E: Element> Values<E> {
    fn new<const D: usize>(tensor: Tensor<Flex, D>) -> Self {
        let shape = tensor.shape();
        let tensor = tensor.into_primitive().tensor();
        let copied = match tensor.is_contiguous() {
            false => copy::rows::<E>(&tensor),
            true => None,
        };
        let tensor = match copied {
            Some(values) => FlexTensor::from_data(TensorData::new(values, shape)),
            None => tensor.to_contiguous(),
        };
        Self(Some(tensor), PhantomData)
    }

    /// Returns the values for writing, if no other tensor shares them.
    pub(super) fn unique(&mut self) -> Option<&mut [E]> {
        E::unique_storage(self.0.as_mut()?)
    }

    /// Like [`unique`](Self::unique), but only for values in f32.
    pub(super) fn unique_in_f32(&mut self) -> Option<&mut [f32]> {
        let tensor = self.0.as_mut()?;
        match tensor.dtype() {
            DType::F32 => f32::unique_storage(tensor),
            _ => None,
        }
    }

    pub(super) fn into_tensor(mut self) -> FlexTensor {
        self.0
            .take()
            .expect("the tensor is taken only here and on drop")
    }
}

impl<E: Element> Deref for Values<E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        self.0.as_ref().map_or(&[], E::storage)
    }
}

impl<E: Element> Drop for Values<E> {
    fn drop(&mut self) {
        if let Some(tensor) = self.0.take_if(|tensor| tensor.is_unique())
            && let Ok(values) = tensor.into_data().into_vec::<E>()
        {
            memory::free(values);
        }
    }
}

/// Returns the values of a tensor in memory order.
pub(super) fn values<E: Element, const D: usize>(tensor: Tensor<Flex, D>) -> Values<E> {
    Values::new(tensor)
}

/// Returns a tensor from its values in memory order.
pub(super) fn tensor<E: Element, const D: usize>(
    values: Vec<E>,
    shape: [usize; D],
) -> Tensor<Flex, D> {
    from_primitive(FlexTensor::from_data(TensorData::new(values, shape)))
}

pub(super) fn from_primitive<const D: usize>(tensor: FlexTensor) -> Tensor<Flex, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}
