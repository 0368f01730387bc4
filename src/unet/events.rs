//! The events of a pass through a network, computed from shapes alone: which operations run, and
//! which tensors are allocated at that time.
//!
//! The walks over the architectures ([`UNetConfig::walk`](super::UNetConfig::walk) and those of the
//! VAE) emit the events in the order of the forward pass. Operation lists, counts of
//! multiply-accumulates and the memory plan are folds over the events. Tests compare the walks with
//! the operations that the forward pass runs.

use crate::backend::operation::Operation;

/// One event of a pass over one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A tensor is allocated: the output of the next operation, or a copy.
    Allocate(TensorSize),
    /// A tensor is freed.
    Free(TensorSize),
    /// An operation runs. Its inputs and its output are allocated.
    Run(Operation),
    /// A layer whose input is the timestep or the prompt. It runs once, when a model is built, and
    /// not in the pass.
    FoldedLayer {
        /// Multiply-accumulates.
        macs: u64,
    },
}

/// The size of a tensor, independent of the precision of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TensorSize {
    elements: u64,
    precision: TensorPrecision,
    /// Whether the tensor is the result of a cast, which exists only if the two precisions differ.
    is_cast: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TensorPrecision {
    /// The precision of the model's weights.
    Model,
    /// The precision of residual sums: f32, or the model's if that is wider.
    Residual,
}

impl TensorSize {
    /// Returns the size of a tensor `[1, channels, H, W]` in the model's precision.
    pub(crate) fn activation(channels: usize, [h, w]: [usize; 2]) -> Self {
        Self {
            elements: channels as u64 * h as u64 * w as u64,
            precision: TensorPrecision::Model,
            is_cast: false,
        }
    }

    /// Returns the size of a tensor `[1, channels, H, W]` in the precision of residual sums.
    pub(crate) fn residual(channels: usize, size: [usize; 2]) -> Self {
        Self {
            precision: TensorPrecision::Residual,
            ..Self::activation(channels, size)
        }
    }

    /// Marks the tensor as the result of a cast, which exists only if the two precisions differ.
    fn as_cast(self) -> Self {
        Self {
            is_cast: true,
            ..self
        }
    }

    /// Returns the size in bytes for a batch of `pictures`. A value in the model's precision takes
    /// `element` bytes.
    pub(super) fn bytes(self, pictures: u64, element: u64) -> u64 {
        let residual = element.max(size_of::<f32>() as u64);
        if self.is_cast && element == residual {
            return 0;
        }
        let value = match self.precision {
            TensorPrecision::Model => element,
            TensorPrecision::Residual => residual,
        };
        pictures * self.elements * value
    }
}

/// Emits the events of single layers, and of the blocks that several networks share.
pub(crate) struct Emitter<F> {
    emit: F,
}

impl<F: FnMut(Event)> Emitter<F> {
    pub(crate) fn new(emit: F) -> Self {
        Self { emit }
    }

    pub(super) fn allocate(&mut self, tensor: TensorSize) {
        (self.emit)(Event::Allocate(tensor));
    }

    pub(super) fn free(&mut self, tensor: TensorSize) {
        (self.emit)(Event::Free(tensor));
    }

    pub(super) fn folded_layer(&mut self, macs: usize) {
        (self.emit)(Event::FoldedLayer { macs: macs as u64 });
    }

    /// Emits an operation whose output is part of a tensor that is already allocated.
    pub(super) fn run_within(&mut self, operation: Operation) {
        (self.emit)(Event::Run(operation));
    }

    /// Emits an operation and the allocation of its output.
    pub(crate) fn run(&mut self, operation: Operation, output: TensorSize) {
        self.allocate(output);
        self.run_within(operation);
    }

    pub(crate) fn group_norm(&mut self, channels: usize, size: [usize; 2], silu: bool) {
        let operation = Operation::GroupNorm {
            channels,
            size,
            silu,
        };
        self.run(operation, TensorSize::activation(channels, size));
    }

    /// Emits a linear layer whose tokens are the pixels of `size`.
    pub(crate) fn linear(&mut self, channels: [usize; 2], size: [usize; 2], bias: bool) {
        let operation = Operation::Linear {
            tokens: size[0] * size[1],
            channels,
            bias,
        };
        self.run(operation, TensorSize::activation(channels[1], size));
    }

    pub(crate) fn convolution(
        &mut self,
        channels: [usize; 2],
        size: [usize; 2],
        kernel: usize,
        stride: usize,
    ) {
        let operation = Operation::Convolution {
            channels,
            size,
            kernel,
            stride,
        };
        let output_size = size.map(|n| n.div_ceil(stride));
        self.run(operation, TensorSize::activation(channels[1], output_size));
    }

    /// Emits a convolution whose input and output are residual sums.
    pub(super) fn residual_convolution(
        &mut self,
        channels: [usize; 2],
        size: [usize; 2],
        kernel: usize,
        stride: usize,
    ) {
        let narrowed = self.narrow(channels[0], size);
        self.convolution(channels, size, kernel, stride);
        self.free(narrowed);
        self.widen(channels[1], size.map(|n| n.div_ceil(stride)));
    }

    /// Emits the cast of an activation to a residual sum, if the precisions differ.
    pub(super) fn widen(&mut self, channels: usize, size: [usize; 2]) {
        self.allocate(TensorSize::residual(channels, size).as_cast());
        self.free(TensorSize::activation(channels, size).as_cast());
    }

    /// Emits the cast of a residual sum to an activation, if the precisions differ. Returns the
    /// copy. The sum stays allocated.
    pub(super) fn narrow(&mut self, channels: usize, size: [usize; 2]) -> TensorSize {
        let narrowed = TensorSize::activation(channels, size).as_cast();
        self.allocate(narrowed);
        narrowed
    }

    /// Emits a ResNet block. If `input_is_skip` is set, the input stays allocated as a skip.
    pub(crate) fn resnet(
        &mut self,
        [input, output]: [usize; 2],
        size: [usize; 2],
        input_is_skip: bool,
    ) {
        let [x, h] = [input, output].map(|channels| TensorSize::activation(channels, size));
        self.group_norm(input, size, true);
        self.convolution([input, output], size, 3, 1);
        self.free(x);
        self.group_norm(output, size, true);
        self.free(h);
        self.convolution([output, output], size, 3, 1);
        self.free(h);
        // The sum replaces the shortcut, or an input that is not a skip.
        if input != output {
            self.residual_convolution([input, output], size, 1, 1);
            if !input_is_skip {
                self.free(TensorSize::residual(input, size));
            }
        } else if input_is_skip {
            self.allocate(TensorSize::residual(output, size));
        }
        self.free(h);
    }
}
