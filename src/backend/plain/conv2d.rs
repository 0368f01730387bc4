//! Convolution and its gradients by burn's `conv2d`.

use crate::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorPrimitive};

fn options(kernel: usize, stride: usize) -> ConvOptions<2> {
    ConvOptions::new([stride; 2], [kernel / 2; 2], [1; 2], 1)
}

pub(crate) fn convolution<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Tensor<B, 1>,
    stride: usize,
) -> Tensor<B, 4> {
    let [.., kernel] = weight.dims();
    conv2d(x, weight, Some(bias), options(kernel, stride))
}

pub(crate) fn convolution_x_backward<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    gradient: Tensor<B, 4>,
    stride: usize,
) -> Tensor<B, 4> {
    let options = options(weight.dims()[3], stride);
    from_primitive(B::conv2d_x_backward(
        primitive(x),
        primitive(weight),
        primitive(gradient),
        options,
    ))
}

pub(crate) fn convolution_weight_backward<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    gradient: Tensor<B, 4>,
    stride: usize,
) -> (Tensor<B, 4>, Tensor<B, 1>) {
    let options = options(weight.dims()[3], stride);
    let bias = gradient
        .clone()
        .sum_dims(&[0, 2, 3])
        .reshape([weight.dims()[0]]);
    let weight = B::conv2d_weight_backward(
        primitive(x),
        primitive(weight),
        primitive(gradient),
        options,
    );
    (from_primitive(weight), bias)
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> B::FloatTensorPrimitive {
    tensor.into_primitive().tensor()
}

fn from_primitive<B: Backend, const D: usize>(tensor: B::FloatTensorPrimitive) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}
