//! Golden tensors for integration tests, and comparison with them.

use burn::tensor::backend::BackendTypes;
use burn::tensor::{Element, Tensor, TensorData};
use gendr_pix::Backend;
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

/// Returns the folder of the golden tensors: `tests/fixtures`, or the folder that
/// `GENDR_PIX_FIXTURES` names.
pub fn fixtures() -> PathBuf {
    std::env::var_os("GENDR_PIX_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"),
        PathBuf::from,
    )
}

/// A file of golden tensors.
pub struct Golden(Vec<u8>);

impl Golden {
    pub fn open(name: &str) -> Self {
        let path = fixtures().join(name);
        Self(std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    /// Returns the sorted keys.
    pub fn keys(&self) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let mut keys: Vec<String> = file.names().into_iter().map(String::from).collect();
        keys.sort();
        keys
    }

    /// Returns a tensor in f32.
    pub fn data(&self, key: &str) -> TensorData {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(key).unwrap_or_else(|e| panic!("{key}: {e}"));
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect(),
            Dtype::I64 => view
                .data()
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f32)
                .collect(),
            other => panic!("{key} is {other:?}"),
        };
        TensorData::new(values, view.shape())
    }

    pub fn tensor<B: Backend, const D: usize>(
        &self,
        key: &str,
        device: &B::Device,
    ) -> Tensor<B, D> {
        let dtype = <B as BackendTypes>::FloatElem::dtype();
        Tensor::from_data(self.data(key), (device, dtype))
    }
}

/// The errors that are accepted, both relative: the largest error of an element over the largest
/// element (`max`), and the error of the whole tensor in the Euclidean norm (`rel_l2`).
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub max: f64,
    pub rel_l2: f64,
}

impl Tolerance {
    /// The tolerance for f32 in the README of the reference implementation.
    pub const F32: Self = Self {
        max: 2e-5,
        rel_l2: 1e-5,
    };
    /// The tolerance for f32 on GPUs, where fused and reordered sums differ more.
    pub const GPU: Self = Self {
        max: 1e-3,
        rel_l2: 1e-3,
    };
    pub const EXACT: Self = Self {
        max: 0.0,
        rel_l2: 0.0,
    };
}

/// Panics unless `found` equals `expected` within `tolerance`.
pub fn assert_close<B: Backend, const D: usize>(
    what: &str,
    found: Tensor<B, D>,
    expected: TensorData,
    tolerance: Tolerance,
) {
    let found = found.into_data().convert::<f32>();
    assert_eq!(found.shape, expected.shape, "{what}");
    let (found, expected) = (
        found.to_vec::<f32>().unwrap(),
        expected.to_vec::<f32>().unwrap(),
    );
    let (mut difference, mut largest, mut error, mut norm) = (0.0_f64, 0.0_f64, 0.0, 0.0);
    for (&a, &b) in found.iter().zip(&expected) {
        let (a, b) = (f64::from(a), f64::from(b));
        assert!(a.is_finite(), "{what}: not finite");
        difference = difference.max((a - b).abs());
        largest = largest.max(b.abs());
        error += (a - b) * (a - b);
        norm += b * b;
    }
    let (max, rel_l2) = (difference / largest, (error / norm).sqrt());
    assert!(
        max <= tolerance.max && rel_l2 <= tolerance.rel_l2,
        "{what}: max {max:.2e}, rel_l2 {rel_l2:.2e}, allowed {tolerance:?}"
    );
}
