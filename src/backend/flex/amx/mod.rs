//! Matrix products on the CPU's matrix unit, on all cores. Products of bf16 run on the vector unit
//! if it has instructions for bf16 and there is no matrix unit.
//!
//! The unit multiplies bf16 numbers and accumulates in f32. bf16 values are used unchanged. An f32
//! value is split into two bf16 numbers, which together have 17 of its bits. A product of two f32
//! values is the sum of three of the four products of their parts. The product of the two low parts
//! is omitted. The error is about ten times that of f32 arithmetic: 5e-6 of the largest value of a
//! product. (PyTorch calls this the "high" precision of f32 products.) [`Winograd`] convolutions
//! compute half as many products, and have about twice that error.
//!
//! Source: Henry, Tang and Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For
//! Higher-Precision Computations", arXiv 1904.06376.

mod convolution_operands;
mod dot;
mod lanes;
mod layout;
mod matrix_unit;
mod multiply;
mod output;
mod packed_attention;
mod panel;
mod product;
mod scratch;
mod sliding;
mod tile_element;
mod tiles;
mod winograd;

pub(super) use convolution_operands::ConvolutionOperands;
pub(super) use output::Bias;
pub(super) use packed_attention::PackedHead;
pub(super) use product::{Columns, Product};
pub(super) use sliding::Sliding;
pub(super) use tile_element::TileElement;
pub(super) use tiles::Tiles;
pub(super) use winograd::Winograd;
