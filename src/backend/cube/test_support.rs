//! Helpers for the tests of the kernels.

use burn::tensor::backend::Backend as _;
use burn::tensor::{DType, Tensor, TensorData, Tolerance};

/// The backend of the tests.
#[cfg(feature = "wgpu")]
pub(super) type Gpu = crate::backend::Wgpu;
/// The backend of the tests.
#[cfg(not(feature = "wgpu"))]
pub(super) type Gpu = crate::backend::Cuda;

/// Random numbers in -1..1, determined by the seed.
pub(super) fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<Gpu, D> {
    let mut state = seed;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            // Knuth's linear congruential generator. Only the upper bits are random enough.
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

/// Returns the precisions that the device supports.
pub(super) fn precisions() -> Vec<DType> {
    let all = [DType::F32, DType::F16, DType::BF16].into_iter();
    all.filter(|&dtype| Gpu::supports_dtype(&Default::default(), dtype))
        .collect()
}

/// Pairs of precisions for an input and for weights or another input. They are equal, or one of
/// them is f32.
pub(super) fn pairs() -> Vec<[DType; 2]> {
    let pairs = |half| match half {
        DType::F32 => vec![[half; 2]],
        half => vec![[half; 2], [DType::F32, half], [half, DType::F32]],
    };
    precisions().into_iter().flat_map(pairs).collect()
}

pub(super) fn cast<const D: usize>(x: &Tensor<Gpu, D>, dtype: DType) -> Tensor<Gpu, D> {
    x.clone().cast(dtype)
}

/// Asserts that `found`, in the precision `dtype`, agrees with `expected`, in f32.
pub(super) fn assert_agree<const D: usize>(
    found: Tensor<Gpu, D>,
    expected: Tensor<Gpu, D>,
    dtype: DType,
) {
    let tolerance = match dtype {
        DType::F16 => Tolerance::rel_abs(1e-3, 1e-3),
        DType::BF16 => Tolerance::rel_abs(1e-2, 1e-2),
        _ => Tolerance::rel_abs(1e-5, 1e-5),
    };
    let found = found.into_data().convert::<f32>();
    found.assert_approx_eq::<f32>(&expected.into_data(), tolerance);
}
