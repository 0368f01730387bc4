//! Checks that a device computes correctly: compares the model's operations on the device with a
//! reference.
//!
//! The reference evaluates each formula in f64 and does not depend on a backend. It is therefore
//! available with all features, and it can also test the kernels of the CPU.

mod copies;
mod operations;
mod reference;
#[cfg(all(test, feature = "flex", feature = "ndarray"))]
mod tests;

use crate::backend::Backend;
use crate::backend::operation::Operation;
use crate::backend::precision::widen;
use crate::error::{Deviation, Error, Result};
use crate::model::GenDrPix;
use burn::tensor::{DType, Tensor, TensorData};
use operations::name;
use rayon::prelude::*;

/// Height and width of a small picture in cells. They are odd in every stage.
const SMALL: [usize; 2] = [9, 13];
/// Height and width of a large picture in cells. It has more than 32,768 cells, and more than
/// 65,504 values in a group. Kernels have failed in half precision at such sizes (cubek#519,
/// burn#5382).
const LARGE: [usize; 2] = [181, 183];
/// Approximate number of products that the reference computes for an operation.
const EFFORT: usize = 1 << 25;
/// Maximum and minimum number of outputs that are compared.
const OUTPUTS: [usize; 2] = [4096, 16];

impl<B: Backend> GenDrPix<B> {
    /// Compares the model's operations on its device with a reference on the CPU, in all shapes
    /// that occur in its UNet for a small picture, and in one shape of each kind for a large
    /// picture. Then restores a small picture with the whole model and compares the result with
    /// that of the same model on a CPU backend, if one is built in (feature `flex` or `ndarray`)
    /// and is not the tested one.
    ///
    /// Run this once for each new machine, driver or precision, because GPU kernels have been wrong
    /// on some. With the bundled model it takes about a second on a CPU. The last comparison needs
    /// memory for the weights in f32 on the CPU.
    ///
    /// Returns the results of all comparisons in order.
    ///
    /// # Errors
    ///
    /// [`Error::SelfTest`] with all operations whose error exceeds the tolerance.
    pub fn self_test(&self) -> Result<Vec<Deviation>> {
        self.self_test_over(LARGE)
    }

    /// Like [`self_test`](Self::self_test), with another size of the large picture.
    fn self_test_over(&self, large: [usize; 2]) -> Result<Vec<Deviation>> {
        let mut test = SelfTest::<B> {
            device: self.device(),
            dtype: self.dtype(),
            numbers: RandomNumbers(0),
            deviations: Vec::new(),
        };
        let unet = &self.config().unet;
        let operations = |[h, w]: [usize; 2]| unet.operations(h, w, self.prompt_tokens());
        for operation in chosen(operations(SMALL), operations(large)) {
            test.operation(operation, unet.norm_num_groups);
        }
        test.copies(self.config().factor);
        #[cfg(any(feature = "flex", feature = "ndarray"))]
        test.compare_model(self)?;
        let failed = |deviation: &&Deviation| deviation.error > deviation.tolerance;
        let deviations: Vec<_> = test.deviations.iter().filter(failed).cloned().collect();
        match deviations.is_empty() {
            true => Ok(test.deviations),
            false => Err(Error::SelfTest { deviations }),
        }
    }
}

/// Returns all operations of the small picture without duplicates, and the first operation of each
/// kind of the large one.
fn chosen(small: Vec<Operation>, large: Vec<Operation>) -> Vec<Operation> {
    let kind = |operation| match operation {
        Operation::Convolution { kernel, stride, .. } => (name(operation), kernel, stride),
        _ => (name(operation), 0, 0),
    };
    let (mut operations, mut kinds) = (Vec::new(), Vec::new());
    for operation in small {
        if !operations.contains(&operation) {
            operations.push(operation);
        }
    }
    for operation in large {
        if !kinds.contains(&kind(operation)) {
            kinds.push(kind(operation));
            operations.push(operation);
        }
    }
    operations
}

/// A generator of pseudorandom numbers that are the same on every machine: Steele, Lea and Flood's
/// SplitMix64.
struct RandomNumbers(u64);

impl RandomNumbers {
    /// Returns a number between -1 and 1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as i64 as f32 / i64::MAX as f32
    }
}

/// A random tensor, and its values as the device has rounded them.
struct TestTensor<B: Backend, const D: usize> {
    tensor: Tensor<B, D>,
    values: Vec<f64>,
}

impl<B: Backend, const D: usize> TestTensor<B, D> {
    fn new(tensor: Tensor<B, D>) -> Self {
        let values = values(tensor.clone());
        Self { tensor, values }
    }
}

/// A self-test in progress, with the results so far.
struct SelfTest<'a, B: Backend> {
    device: &'a B::Device,
    /// The model's precision.
    dtype: DType,
    numbers: RandomNumbers,
    deviations: Vec<Deviation>,
}

impl<B: Backend> SelfTest<'_, B> {
    /// Returns random values with mean `centre` and a standard deviation of about 1, multiplied by
    /// `scale`.
    fn input<const D: usize>(
        &mut self,
        shape: [usize; D],
        centre: f32,
        scale: f64,
    ) -> TestTensor<B, D> {
        let count = shape.iter().product();
        let numbers = (0..count).map(|_| (centre + 1.7 * self.numbers.next()) * scale as f32);
        let data = TensorData::new(numbers.collect(), shape).convert_dtype(self.dtype);
        let tensor = Tensor::from_data(data, (self.device, self.dtype));
        TestTensor::new(tensor)
    }

    /// Returns the input of a norm. Its mean is not zero, and it has the precision of residual
    /// sums.
    fn norm_input<const D: usize>(&mut self, shape: [usize; D]) -> TestTensor<B, D> {
        TestTensor::new(widen(self.input(shape, 2.0, 1.0).tensor))
    }

    /// Returns the weights of a layer with `inputs` inputs. The layer's outputs are about as large
    /// as its inputs.
    fn weight<const D: usize>(&mut self, shape: [usize; D], inputs: usize) -> TestTensor<B, D> {
        self.input(shape, 0.0, (inputs as f64).sqrt().recip())
    }

    /// Compares some outputs at approximately even distances with `expected`, which computes
    /// `effort` products for each output.
    fn compare<const D: usize>(
        &mut self,
        operation: String,
        found: Tensor<B, D>,
        effort: usize,
        expected: impl Fn(usize) -> f64 + Sync,
    ) {
        let found = values(found);
        let [max, min] = OUTPUTS;
        let count = (EFFORT / effort).clamp(min, max).min(found.len());
        let pairs: Vec<(f64, f64)> = (0..count)
            .into_par_iter()
            .map(|i| {
                // The position within each of the `count` equal parts varies, so that not only one
                // row or channel is compared.
                let [i, len] = [i, found.len()].map(|n| n as u64);
                let at = ((i * len + i * 7919 % len) / count as u64) as usize;
                (found[at], expected(at))
            })
            .collect();
        self.record(operation, pairs.into_iter(), 1.0);
    }

    /// Records the result of a comparison. `pairs` contains found and expected values.
    fn record(&mut self, operation: String, pairs: impl Iterator<Item = (f64, f64)>, slack: f64) {
        let (mut error, mut largest) = (0.0_f64, f64::MIN_POSITIVE);
        for (found, expected) in pairs {
            largest = largest.max(expected.abs());
            error = match found.is_finite() {
                true => error.max((found - expected).abs()),
                false => f64::INFINITY,
            };
        }
        self.deviations.push(Deviation {
            operation,
            error: error / largest,
            tolerance: slack * tolerance(self.dtype),
        });
    }

    /// Compares the model with the same model on the CPU.
    #[cfg(any(feature = "flex", feature = "ndarray"))]
    fn compare_model(&mut self, model: &GenDrPix<B>) -> Result<()> {
        use crate::backend::Cpu;
        use crate::options::padding::Padding;
        use crate::options::restore::Restore;
        use crate::restore::shuffle::PICTURE_CHANNELS;
        use std::any::TypeId;

        /// The rounding errors of all layers add up.
        const SLACK: f64 = 10.0;
        if TypeId::of::<B>() == TypeId::of::<Cpu>() {
            return Ok(());
        }
        let x = self.input([1, PICTURE_CHANNELS, 37, 53], 0.0, 0.5);
        let options = Restore::new()
            .guidance(1.0)
            .ensemble(vec![Padding::CENTRED]);
        let data = x.tensor.clone().into_data().convert::<f32>();
        let on_cpu = Tensor::<Cpu, 4>::from_data(data, &Default::default());
        let expected = model.on::<Cpu>(&Default::default())?;
        let expected = values(expected.restore(on_cpu, &options)?);
        let found = values(model.restore(x.tensor, &options)?);
        let pairs = found.into_iter().zip(expected);
        self.record("the model over 53x37".into(), pairs, SLACK);
        Ok(())
    }
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f64> {
    let data = tensor.into_data().convert::<f64>();
    data.into_vec().expect("converted to f64 just now")
}

/// Returns the tolerated error relative to the largest output. burn's GPU kernels may multiply f32
/// values in TF32 or f16, whose ten bits of precision lead to an error of 3e-4. f16 and bf16 also
/// round the output and the values within an operation.
fn tolerance(precision: DType) -> f64 {
    match precision {
        DType::BF16 => 3.2e-2,
        DType::F16 => 4e-3,
        _ => 1e-3,
    }
}
