//! Records the operations that layers run on this thread, for tests. For each operation of the
//! backend, a layer also calls the function of the same name in this module, which reads the shapes
//! from the tensors.

use crate::backend::Backend;
use crate::backend::operation::Operation;
use burn::tensor::Tensor;
use std::cell::RefCell;

thread_local! {
    /// The operations so far. `None` if nothing is being recorded.
    static OPERATIONS: RefCell<Option<Vec<Operation>>> = const { RefCell::new(None) };
}

/// Returns the operations that `run` runs, in order.
#[cfg(feature = "flex")]
pub(crate) fn recorded(run: impl FnOnce()) -> Vec<Operation> {
    OPERATIONS.set(Some(Vec::new()));
    run();
    OPERATIONS.take().expect("the recording has started")
}

fn record(operation: Operation) {
    OPERATIONS.with_borrow_mut(|operations| {
        if let Some(operations) = operations {
            operations.push(operation);
        }
    });
}

pub(super) fn convolution<B: Backend>(x: &Tensor<B, 4>, weight: &Tensor<B, 4>, stride: usize) {
    let [_, _, h, w] = x.dims();
    let [output, input, kernel, _] = weight.dims();
    record(Operation::Convolution {
        channels: [input, output],
        size: [h, w],
        kernel,
        stride,
    });
}

pub(super) fn group_norm<B: Backend>(x: &Tensor<B, 4>, silu: bool) {
    let [_, channels, h, w] = x.dims();
    record(Operation::GroupNorm {
        channels,
        size: [h, w],
        silu,
    });
}

pub(super) fn token_norm<B: Backend>(x: &Tensor<B, 3>) {
    let [_, tokens, channels] = x.dims();
    record(Operation::TokenNorm { tokens, channels });
}

pub(super) fn token_linear<B: Backend>(x: &Tensor<B, 3>, weight: &Tensor<B, 2>, bias: bool) {
    record(Operation::Linear {
        tokens: x.dims()[1],
        channels: weight.dims(),
        bias,
    });
}

pub(super) fn multi_head_attention<B: Backend>(
    query: &Tensor<B, 3>,
    key: &Tensor<B, 3>,
    heads: usize,
) {
    let [_, queries, channels] = query.dims();
    record(Operation::Attention {
        queries,
        keys: key.dims()[1],
        channels,
        heads,
    });
}

pub(super) fn feed_forward<B: Backend>(x: &Tensor<B, 3>, weights: &[Tensor<B, 2>; 2]) {
    let [_, tokens, channels] = x.dims();
    let [hidden, _] = weights[1].dims();
    record(Operation::FeedForward {
        tokens,
        channels,
        hidden,
    });
}
