//! Gradients of the operations. Each operation is a single node of burn's autodiff graph, with the
//! backward operation of the inner backend.

use crate::backend::{Backend, GroupNormOptions, PictureOperations};
use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorPrimitive};

fn wrap<B: Backend, const D: usize>(tensor: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

fn unwrap<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

#[derive(Debug)]
struct ConvolutionBackward;

impl<B: Backend> Backward<B, 3> for ConvolutionBackward {
    /// Input, weight and stride.
    type State = (FloatTensor<B>, FloatTensor<B>, usize);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 4> = wrap(grads.consume::<B>(&ops.node));
        let [x_node, weight_node, bias_node] = ops.parents;
        let (x, weight, stride) = ops.state;
        let (x, weight): (Tensor<B, 4>, Tensor<B, 4>) = (wrap(x), wrap(weight));
        if weight_node.is_some() || bias_node.is_some() {
            let (dw, db) =
                B::convolution_weight_backward(x.clone(), weight.clone(), gradient.clone(), stride);
            if let Some(node) = weight_node {
                grads.register::<B>(node.id, unwrap(dw));
            }
            if let Some(node) = bias_node {
                grads.register::<B>(node.id, unwrap(db));
            }
        }
        if let Some(node) = x_node {
            let dx = B::convolution_x_backward(x, weight, gradient, stride);
            grads.register::<B>(node.id, unwrap(dx));
        }
    }
}

#[derive(Debug)]
struct GroupNormBackward;

impl<B: Backend> Backward<B, 3> for GroupNormBackward {
    /// `[input, weight, bias]` and the options.
    type State = ([FloatTensor<B>; 3], GroupNormOptions);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = wrap(grads.consume::<B>(&ops.node));
        let ([x, weight, bias], options) = ops.state;
        let (dx, dw, db) =
            B::group_norm_backward(wrap(x), wrap(weight), wrap(bias), gradient, options);
        let gradients = [unwrap(dx), unwrap(dw), unwrap(db)];
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct GegluBackward;

impl<B: Backend> Backward<B, 1> for GegluBackward {
    /// The input.
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = wrap(grads.consume::<B>(&ops.node));
        let [node] = ops.parents;
        if let Some(node) = node {
            let dx = B::geglu_backward(wrap(ops.state), gradient);
            grads.register::<B>(node.id, unwrap(dx));
        }
    }
}

#[derive(Debug)]
struct LinearBackward;

impl<B: Backend> Backward<B, 3> for LinearBackward {
    /// Input and weight.
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 3> = wrap(grads.consume::<B>(&ops.node));
        let [x_node, weight_node, bias_node] = ops.parents;
        let (x, weight): (Tensor<B, 3>, Tensor<B, 2>) = (wrap(ops.state.0), wrap(ops.state.1));
        if let Some(node) = x_node {
            let dx = B::token_linear(gradient.clone(), weight.transpose(), None);
            grads.register::<B>(node.id, unwrap(dx));
        }
        let rows: Tensor<B, 2> = gradient.flatten(0, 1);
        if let Some(node) = weight_node {
            let dw = x.flatten::<2>(0, 1).transpose().matmul(rows.clone());
            grads.register::<B>(node.id, unwrap(dw));
        }
        if let Some(node) = bias_node {
            let db: Tensor<B, 1> = rows.sum_dim(0).squeeze_dim(0);
            grads.register::<B>(node.id, unwrap(db));
        }
    }
}

/// Training does not convert pictures on the device.
impl<B: Backend, C: CheckpointStrategy> PictureOperations for Autodiff<B, C> {}

impl<B: Backend, C: CheckpointStrategy> Backend for Autodiff<B, C> {
    fn convolution(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        bias: Tensor<Self, 1>,
        stride: usize,
    ) -> Tensor<Self, 4> {
        let (x, weight, bias) = (unwrap(x), unwrap(weight), unwrap(bias));
        let nodes = [x.node.clone(), weight.node.clone(), bias.node.clone()];
        let output = unwrap(B::convolution(
            wrap(x.primitive.clone()),
            wrap(weight.primitive.clone()),
            wrap(bias.primitive),
            stride,
        ));
        wrap(
            match ConvolutionBackward
                .prepare::<C>(nodes)
                .compute_bound()
                .stateful()
            {
                OpsKind::Tracked(node) => {
                    node.finish((x.primitive, weight.primitive, stride), output)
                }
                OpsKind::UnTracked(node) => node.finish(output),
            },
        )
    }

    fn group_norm(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        options: GroupNormOptions,
    ) -> Tensor<Self, 4> {
        let inputs = [unwrap(x), unwrap(weight), unwrap(bias)];
        let nodes = inputs.each_ref().map(|tensor| tensor.node.clone());
        let [x, weight, bias] = inputs.map(|tensor| tensor.primitive);
        let output = unwrap(B::group_norm(
            wrap(x.clone()),
            wrap(weight.clone()),
            wrap(bias.clone()),
            options,
        ));
        wrap(
            match GroupNormBackward
                .prepare::<C>(nodes)
                .compute_bound()
                .stateful()
            {
                OpsKind::Tracked(node) => node.finish(([x, weight, bias], options), output),
                OpsKind::UnTracked(node) => node.finish(output),
            },
        )
    }

    fn token_linear(
        x: Tensor<Self, 3>,
        weight: Tensor<Self, 2>,
        bias: Option<Tensor<Self, 1>>,
    ) -> Tensor<Self, 3> {
        // The type of the node fixes the number of inputs. A missing bias is a constant, which has
        // no gradient.
        let no_bias = || Tensor::zeros([1], &x.device());
        let bias_node = unwrap::<Self, 1>(bias.clone().unwrap_or_else(no_bias)).node;
        let (x, weight) = (unwrap(x), unwrap(weight));
        let nodes = [x.node.clone(), weight.node.clone(), bias_node];
        let output = unwrap(B::token_linear(
            wrap(x.primitive.clone()),
            wrap(weight.primitive.clone()),
            bias.map(|bias| wrap(unwrap(bias).primitive)),
        ));
        wrap(
            match LinearBackward
                .prepare::<C>(nodes)
                .compute_bound()
                .stateful()
            {
                OpsKind::Tracked(node) => node.finish((x.primitive, weight.primitive), output),
                OpsKind::UnTracked(node) => node.finish(output),
            },
        )
    }

    fn geglu(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        let x = unwrap(x);
        let output = unwrap(B::geglu(wrap(x.primitive.clone())));
        let node = GegluBackward.prepare::<C>([x.node.clone()]);
        wrap(match node.compute_bound().stateful() {
            OpsKind::Tracked(node) => node.finish(x.primitive, output),
            OpsKind::UnTracked(node) => node.finish(output),
        })
    }
}
