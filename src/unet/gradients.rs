//! Compares the UNet's gradients with finite differences, and between backends.

use super::UNet;
use crate::backend::{Backend, Flex};
use crate::testing::finite_difference as fd;
use crate::testing::finite_difference::{Plain, STEP, Tracked, random, values};
use crate::testing::golden::fixtures;
use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;

/// A small sample with odd sides and two tokens at the deepest stage. With a single token,
/// attention has no gradient.
const SAMPLE: [usize; 4] = [1, 192, 9, 5];
const PROMPT: [usize; 3] = [1, 7, 64];
const TIMESTEP: f64 = 500.0;

fn load<B: Backend>() -> UNet<B> {
    let folder = fixtures().join("unet_tiny");
    UNet::load_diffusers(folder, &Default::default()).unwrap().1
}

/// Returns a random tensor with the same values on every backend.
fn draw<B: Backend, const D: usize>(shape: [usize; D], seed: u64) -> Tensor<B, D> {
    let data = TensorData::new(values(random(shape, seed)), shape);
    Tensor::from_data(data, &Default::default())
}

/// Returns the sum of the output's product with random numbers.
fn loss<B: Backend>(unet: &UNet<B>, sample: Tensor<B, 4>, prompt: Tensor<B, 3>) -> Tensor<B, 1> {
    let output = unet.forward(sample, &unet.condition(TIMESTEP, prompt));
    let weights = draw(output.dims(), 3);
    (output * weights).sum()
}

/// Returns the gradients of all parameters with their paths, then those of `sample` and `prompt`.
fn gradients<B: Backend + AutodiffBackend<InnerBackend: Backend>>() -> Vec<(String, Vec<f64>)> {
    struct Collect<'a, B: AutodiffBackend> {
        gradients: &'a B::Gradients,
        path: Vec<String>,
        found: Vec<(String, Vec<f64>)>,
    }
    impl<B: Backend + AutodiffBackend> ModuleVisitor<B> for Collect<'_, B> {
        fn enter_module(&mut self, name: &str, _kind: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _kind: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            let path = self.path.join(".");
            let gradient = param.val().grad(self.gradients);
            let gradient = gradient.unwrap_or_else(|| panic!("{path} has no gradient"));
            let gradient = gradient.into_data().convert::<f64>().into_vec().unwrap();
            self.found.push((path, gradient));
        }
    }
    let unet = load::<B>();
    let sample = draw::<B, 4>(SAMPLE, 1).require_grad();
    let prompt = draw::<B, 3>(PROMPT, 2).require_grad();
    let gradients = loss(&unet, sample.clone(), prompt.clone()).backward();
    let mut collect = Collect {
        gradients: &gradients,
        path: Vec::new(),
        found: Vec::new(),
    };
    unet.visit(&mut collect);
    let mut found = collect.found;
    let numbers = |data: TensorData| data.convert::<f64>().into_vec().unwrap();
    let sample = numbers(sample.grad(&gradients).unwrap().into_data());
    let prompt = numbers(prompt.grad(&gradients).unwrap().into_data());
    found.push(("sample".into(), sample));
    found.push(("prompt".into(), prompt));
    found
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0f64, |m, v| m.max(v.abs()))
}

/// Returns `tensor` with `offset` added to one element.
fn nudged<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    element: usize,
    offset: f64,
) -> Tensor<B, D> {
    let (shape, device) = (tensor.dims(), tensor.device());
    let mut values: Vec<f64> = tensor.into_data().into_vec().unwrap();
    values[element] += offset;
    Tensor::from_data(TensorData::new(values, shape), &device)
}

/// Adds `offset` to an element of one parameter.
struct Nudge {
    /// The parameter's index in the order of a visit.
    parameter: usize,
    element: usize,
    offset: f64,
    /// Parameters visited so far.
    visited: usize,
}

impl ModuleMapper<Plain> for Nudge {
    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Plain, D>>,
    ) -> Param<Tensor<Plain, D>> {
        self.visited += 1;
        if self.visited - 1 == self.parameter {
            param.map(|tensor| nudged(tensor, self.element, self.offset))
        } else {
            param
        }
    }
}

/// Compares two elements of one parameter of each kind, of the sample and of the prompt. A kind is
/// a path without its numbers: for example, the first convolution's weight in the ResNet blocks of
/// down blocks.
#[test]
#[ignore = "a minute: cargo test --features ndarray,train --lib finite_differences -- --ignored"]
fn agree_with_finite_differences() {
    let gradients = gradients::<Tracked>();
    let parameters = gradients.len() - 2;
    let mut kinds = BTreeMap::new();
    for (number, (path, _)) in gradients.iter().enumerate() {
        let names = path
            .split('.')
            .filter(|name| name.parse::<usize>().is_err());
        let kind: Vec<_> = names.collect();
        kinds.entry(kind.join(".")).or_insert(number);
    }
    // The tiny UNet has parameters of over 58 kinds. Sample and prompt are two more.
    assert!(kinds.len() > 60, "{} kinds", kinds.len());

    let unet = load::<Plain>();
    let (sample, prompt) = (draw::<Plain, 4>(SAMPLE, 1), draw::<Plain, 3>(PROMPT, 2));
    let at = |number: usize, element: usize, offset: f64| {
        let (mut unet, mut sample, mut prompt) = (unet.clone(), sample.clone(), prompt.clone());
        if number < parameters {
            unet = unet.map(&mut Nudge {
                parameter: number,
                element,
                offset,
                visited: 0,
            });
        } else if number == parameters {
            sample = nudged(sample, element, offset);
        } else {
            prompt = nudged(prompt, element, offset);
        }
        values(loss(&unet, sample, prompt))[0]
    };
    for (kind, number) in kinds {
        let (_, gradient) = &gradients[number];
        let largest = largest(gradient);
        assert!(largest > 0.0, "{kind} has no gradient");
        // burn's SiLU computes the time embedding in f32, with seven digits. A larger step leaves
        // three of them.
        let (step, tolerance) = if kind.starts_with("time_embedding") {
            (1e-3, 2e-3)
        } else {
            (STEP, 1e-5)
        };
        for element in [gradient.len() / 3, gradient.len() - 1] {
            let difference =
                (at(number, element, step) - at(number, element, -step)) / (2.0 * step);
            // The loss is a sum of several thousand products, which loses their last bits.
            assert!(
                (difference - gradient[element]).abs() <= tolerance * largest + 1e-7,
                "{kind}, element {element}: difference {difference:e}, gradient {:e} of {largest:e}",
                gradient[element]
            );
        }
    }
}

/// Compares the kernels' own backward operations in f32 with burn's in f64.
#[test]
fn agree_between_backends() {
    let (found, expected) = (gradients::<Autodiff<Flex>>(), gradients::<Tracked>());
    assert_eq!(found.len(), expected.len());
    for ((path, found), (_, expected)) in found.iter().zip(&expected) {
        let errors: Vec<f64> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
        let (error, largest) = (largest(&errors), largest(expected));
        assert!(
            error <= 1e-4 * largest + 1e-5,
            "{path}: {error:e} of {largest:e}"
        );
    }
}

#[test]
fn geglu_agrees_with_finite_differences() {
    let weights = || draw::<Tracked, 3>([2, 3, 4], 2);
    fd::check(random([2, 3, 8], 1) * 4.0, |x| {
        (Tracked::geglu(x) * weights()).sum()
    });
}
