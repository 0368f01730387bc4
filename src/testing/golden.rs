//! Golden tensors for unit tests: files in `tests/fixtures`, or in the folder that
//! `GENDR_PIX_FIXTURES` names. (Integration tests cannot use this module; their version is in
//! `tests/all/support`.)

use burn::tensor::{Tensor, TensorData};
use safetensors::SafeTensors;
use std::path::PathBuf;

pub(crate) type B = crate::backend::Flex;

/// Returns the folder of the golden tensors.
pub(crate) fn fixtures() -> PathBuf {
    std::env::var_os("GENDR_PIX_FIXTURES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")),
        PathBuf::from,
    )
}

/// A file of golden tensors.
pub(crate) struct Golden(Vec<u8>);

impl Golden {
    pub(crate) fn open(name: &str) -> Self {
        Self(std::fs::read(fixtures().join(name)).unwrap())
    }

    /// Returns the values and the shape of a tensor of f32 or i64.
    pub(crate) fn values(&self, key: &str) -> (Vec<f32>, Vec<usize>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(key).unwrap_or_else(|e| panic!("{key}: {e}"));
        let values = if view.dtype() == safetensors::Dtype::I64 {
            let integers = view.data().chunks_exact(8);
            integers
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f32)
                .collect()
        } else {
            let floats = view.data().chunks_exact(4);
            floats
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect()
        };
        (values, view.shape().to_vec())
    }

    pub(crate) fn tensor<const D: usize>(&self, key: &str) -> Tensor<B, D> {
        let (values, shape) = self.values(key);
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
    }

    /// Panics unless `found` equals the tensor `key` to within `tolerance` times its largest value.
    pub(crate) fn check<const D: usize>(&self, key: &str, found: Tensor<B, D>, tolerance: f32) {
        let expected = self.tensor::<D>(key);
        assert_eq!(found.dims(), expected.dims(), "{key}");
        let largest: f32 = expected.clone().abs().max().into_scalar();
        let error: f32 = (found - expected).abs().max().into_scalar();
        assert!(
            error <= tolerance * largest,
            "{key}: {error:e} of {largest:e}"
        );
    }
}
