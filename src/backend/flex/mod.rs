//! Kernels for the CPU, for tensors in f32 and bf16. They compute in f32. Tensors in other
//! precisions use the default bodies.

mod amx;
mod attention;
mod convolution;
mod convolution_gradients;
mod copy;
mod element;
mod geglu;
mod linear;
mod matrix;
mod memory;
mod norm;
mod pixel_shuffle;
#[cfg(test)]
mod tests;
mod transpose;
mod values;
mod vector_math;
mod workspace;

use crate::backend::operation::Operation;
use crate::backend::plain;
use crate::backend::{Backend, Flex, GroupNormOptions, PictureOperations};
use crate::options::padding::{Edge, Padding};
use amx::Tiles;
use attention::AttentionKernel;
use burn::tensor::{DType, FloatDType, Tensor};
use convolution::ConvolutionKernel;
use element::Element;
use half::bf16;
use linear::LinearKernel;
use matrix::Matrix;
use norm::{GroupNormKernel, token_norm};
use pixel_shuffle::Cells;
use transpose::transposed;
use values::{from_primitive, tensor, values};

/// Evaluates `$body` with the type `$E` of the precision `$dtype`, or `$other` if there are no
/// kernels for it.
macro_rules! with_element_type {
    ($dtype:expr, $E:ident => $body:expr, $other:expr) => {
        match $dtype {
            DType::F32 => {
                type $E = f32;
                $body
            }
            DType::BF16 => {
                type $E = bf16;
                $body
            }
            _ => $other,
        }
    };
}

/// The device is the host, so pictures are converted there.
impl PictureOperations for Flex {}

impl Backend for Flex {
    fn convolution(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        bias: Tensor<Self, 1>,
        stride: usize,
    ) -> Tensor<Self, 4> {
        with_element_type!(
            x.dtype(),
            E => {
                let kernel = ConvolutionKernel::new::<E>(x.dims(), weight.dims(), stride);
                let (x, weight, bias) = (values::<E, _>(x), values(weight), values(bias));
                tensor(kernel.forward::<E>(&x, &weight, &bias), kernel.output_shape())
            },
            plain::convolution(x, weight, bias, stride)
        )
    }

    fn convolution_x_backward(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        gradient: Tensor<Self, 4>,
        stride: usize,
    ) -> Tensor<Self, 4> {
        if x.dtype() != DType::F32 {
            return plain::convolution_x_backward(x, weight, gradient, stride);
        }
        let kernel = ConvolutionKernel::new::<f32>(x.dims(), weight.dims(), stride);
        let [weight, gradient] = [values::<f32, _>(weight), values(gradient)];
        tensor(kernel.x_backward(&weight, &gradient), x.dims())
    }

    fn convolution_weight_backward(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        gradient: Tensor<Self, 4>,
        stride: usize,
    ) -> (Tensor<Self, 4>, Tensor<Self, 1>) {
        if x.dtype() != DType::F32 {
            return plain::convolution_weight_backward(x, weight, gradient, stride);
        }
        let shape = weight.dims();
        let kernel = ConvolutionKernel::new::<f32>(x.dims(), shape, stride);
        let [x, gradient] = [values::<f32, _>(x), values(gradient)];
        let (weight, bias) = kernel.weight_backward(&x, &gradient);
        (tensor(weight, shape), tensor(bias, [shape[0]]))
    }

    fn concatenate(a: Tensor<Self, 4>, b: Tensor<Self, 4>) -> Tensor<Self, 4> {
        let ([n, a_channels, h, w], [_, b_channels, ..]) = (a.dims(), b.dims());
        assert_eq!(b.dims(), [n, b_channels, h, w], "shapes disagree");
        let sizes = [a_channels, b_channels].map(|channels| channels * h * w);
        let shape = [n, a_channels + b_channels, h, w];
        with_element_type!(
            a.dtype(),
            E => {
                let (a, b) = (values::<E, _>(a), values(b));
                tensor(copy::concatenated([&a[..], &b[..]], sizes), shape)
            },
            plain::concatenate(a, b)
        )
    }

    fn crop(x: Tensor<Self, 4>, top_left: [usize; 2], size: [usize; 2]) -> Tensor<Self, 4> {
        let view = plain::crop(x, top_left, size);
        with_element_type!(
            view.dtype(),
            E => from_primitive(values::<E, _>(view).into_tensor()),
            view
        )
    }

    fn add_at(
        whole: Tensor<Self, 4>,
        part: Tensor<Self, 4>,
        [top, left]: [usize; 2],
    ) -> Tensor<Self, 4> {
        let ([n, c, h, w], [.., part_h, part_w]) = (whole.dims(), part.dims());
        assert_eq!(part.dims(), [n, c, part_h, part_w], "shapes disagree");
        assert!(top + part_h <= h && left + part_w <= w, "shapes disagree");
        if whole.dtype() != DType::F32 {
            return plain::add_at(whole, part, [top, left]);
        }
        let (mut whole, part) = (values::<f32, _>(whole).into_tensor(), values(part));
        let to = whole.storage_mut();
        copy::add_at(to, [h, w], &part, [part_h, part_w], [top, left]);
        from_primitive(whole)
    }

    fn pixel_unshuffle(picture: Tensor<Self, 4>, factor: usize) -> Tensor<Self, 4> {
        if picture.dtype() != DType::F32 {
            return plain::pixel_unshuffle(picture, factor);
        }
        let [n, c, h, w] = picture.dims();
        let shape = [n, c * factor * factor, h / factor, w / factor];
        let cells = Cells::without_padding([h, w], factor);
        tensor(
            cells.unshuffle(&values::<f32, _>(picture), Edge::default()),
            shape,
        )
    }

    fn pixel_shuffle(features: Tensor<Self, 4>, factor: usize) -> Tensor<Self, 4> {
        if features.dtype() != DType::F32 {
            return plain::pixel_shuffle(features, factor);
        }
        let [n, c, h, w] = features.dims();
        let size = [h * factor, w * factor];
        let shape = [n, c / (factor * factor), size[0], size[1]];
        let cells = Cells::without_padding(size, factor);
        tensor(cells.shuffle(&values::<f32, _>(features)), shape)
    }

    fn pad_and_unshuffle(
        picture: Tensor<Self, 4>,
        factor: usize,
        padding: Padding,
        padded: [usize; 2],
        edge: Edge,
    ) -> Tensor<Self, 4> {
        if picture.dtype() != DType::F32 {
            return plain::pad_and_unshuffle(picture, factor, padding, padded, edge);
        }
        let [n, c, h, w] = picture.dims();
        let [rows, columns] = padded.map(|n| n / factor);
        let cells = Cells {
            side: factor,
            size: [h, w],
            padding,
            padded,
        };
        let unshuffled = cells.unshuffle(&values::<f32, _>(picture), edge);
        tensor(unshuffled, [n, c * factor * factor, rows, columns])
    }

    fn shuffle_and_crop(
        features: Tensor<Self, 4>,
        factor: usize,
        padding: Padding,
        size: [usize; 2],
    ) -> Tensor<Self, 4> {
        if features.dtype() != DType::F32 {
            return plain::shuffle_and_crop(features, factor, padding, size);
        }
        let [n, c, h, w] = features.dims();
        let cells = Cells {
            side: factor,
            size,
            padding,
            padded: [h * factor, w * factor],
        };
        let pictures = cells.shuffle(&values::<f32, _>(features));
        tensor(pictures, [n, c / (factor * factor), size[0], size[1]])
    }

    fn mix<const D: usize>(
        a: Tensor<Self, D>,
        b: Tensor<Self, D>,
        [weight_a, weight_b]: [f64; 2],
    ) -> Tensor<Self, D> {
        assert_eq!(a.dims(), b.dims(), "shapes disagree");
        match (a.dtype(), b.dtype()) {
            (DType::F32, dtype) => with_element_type!(
                dtype,
                B => mix::<B, D>(a, b, [weight_a as f32, weight_b as f32]),
                plain::mix(a, b, [weight_a, weight_b])
            ),
            (_, DType::F32) => Self::mix(b, a, [weight_b, weight_a]),
            _ => plain::mix(a, b, [weight_a, weight_b]),
        }
    }

    fn cast<const D: usize>(x: Tensor<Self, D>, dtype: FloatDType) -> Tensor<Self, D> {
        let shape = x.dims();
        match (x.dtype(), dtype) {
            (DType::F32, FloatDType::BF16) => tensor(copy::cast::<f32, bf16>(&values(x)), shape),
            (DType::BF16, FloatDType::F32) => tensor(copy::cast::<bf16, f32>(&values(x)), shape),
            _ => x.cast(dtype),
        }
    }

    fn reusing_memory<T>(run: impl FnOnce() -> T) -> T {
        memory::reusing(run)
    }

    fn group_norm(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        options: GroupNormOptions,
    ) -> Tensor<Self, 4> {
        let (shape, dtypes) = (x.dims(), (x.dtype(), weight.dtype()));
        with_element_type!(
            dtypes.0,
            X => with_element_type!(
                dtypes.1,
                Y => {
                    let (x, weight, bias) = (values::<X, _>(x), values(weight), values(bias));
                    let [weight, bias] = [&weight[..], &bias].map(Y::values_in_f32);
                    let kernel = GroupNormKernel::new(shape, &weight, &bias, options);
                    tensor(kernel.forward::<X, Y>(&x), shape)
                },
                plain::group_norm(x, weight, bias, options)
            ),
            plain::group_norm(x, weight, bias, options)
        )
    }

    fn group_norm_backward(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        gradient: Tensor<Self, 4>,
        options: GroupNormOptions,
    ) -> (Tensor<Self, 4>, Tensor<Self, 1>, Tensor<Self, 1>) {
        if [x.dtype(), weight.dtype()] != [DType::F32; 2] {
            return plain::group_norm_backward(x, weight, bias, gradient, options);
        }
        let shape = x.dims();
        let [weight, bias] = [values::<f32, _>(weight), values(bias)];
        let [x, gradient] = [values::<f32, _>(x), values(gradient)];
        let kernel = GroupNormKernel::new(shape, &weight, &bias, options);
        let (dx, dw, db) = kernel.backward(&x, &gradient);
        (
            tensor(dx, shape),
            tensor(dw, [shape[1]]),
            tensor(db, [shape[1]]),
        )
    }

    fn token_norm(
        x: Tensor<Self, 3>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        epsilon: f64,
    ) -> Tensor<Self, 3> {
        let (shape, dtypes) = (x.dims(), (x.dtype(), weight.dtype()));
        with_element_type!(
            dtypes.0,
            X => with_element_type!(
                dtypes.1,
                Y => {
                    let (x, weight, bias) = (values::<X, _>(x), values(weight), values(bias));
                    let [weight, bias] = [&weight[..], &bias].map(Y::values_in_f32);
                    tensor(token_norm::<X, Y>(&x, &weight, &bias, epsilon), shape)
                },
                plain::token_norm(x, weight, bias, epsilon)
            ),
            plain::token_norm(x, weight, bias, epsilon)
        )
    }

    fn token_linear(
        x: Tensor<Self, 3>,
        weight: Tensor<Self, 2>,
        bias: Option<Tensor<Self, 1>>,
    ) -> Tensor<Self, 3> {
        let [n, tokens, channels] = x.dims();
        let [input, output] = weight.dims();
        assert_eq!(channels, input, "shapes disagree");
        with_element_type!(
            x.dtype(),
            E => {
                let (x, weight) = (values::<E, _>(x), values(weight));
                let bias = bias.map(values);
                let layer = LinearKernel::<E> {
                    weight: Matrix::rows(&weight, input, output),
                    bias: bias.as_deref(),
                };
                let x = Matrix::rows(&x, n * tokens, input);
                let tiles = Tiles::if_worthwhile::<E>(n * tokens, output);
                tensor(layer.forward(x, tiles), [n, tokens, output])
            },
            plain::token_linear(x, weight, bias)
        )
    }

    fn to_tokens(pixels: Tensor<Self, 4>) -> Tensor<Self, 3> {
        let [n, c, h, w] = pixels.dims();
        with_element_type!(
            pixels.dtype(),
            E => {
                let tokens = transposed::<E, E>(&values(pixels), [c, h * w], None);
                tensor(tokens, [n, h * w, c])
            },
            plain::to_tokens(pixels)
        )
    }

    fn add_tokens(pixels: Tensor<Self, 4>, tokens: Tensor<Self, 3>) -> Tensor<Self, 4> {
        let shape @ [_, c, h, w] = pixels.dims();
        match pixels.dtype() {
            DType::F32 => with_element_type!(
                tokens.dtype(),
                E => {
                    let (pixels, tokens) = (values(pixels), values::<E, _>(tokens));
                    let sum = transposed::<E, f32>(&tokens, [h * w, c], Some(&pixels));
                    tensor(sum, shape)
                },
                plain::add_tokens(pixels, tokens)
            ),
            _ => plain::add_tokens(pixels, tokens),
        }
    }

    fn multi_head_attention(
        query: Tensor<Self, 3>,
        key: Tensor<Self, 3>,
        value: Tensor<Self, 3>,
        heads: usize,
    ) -> Tensor<Self, 3> {
        let shape = query.dims();
        with_element_type!(
            query.dtype(),
            E => {
                let kernel = AttentionKernel::new::<E>(shape, key.dims(), heads);
                let [query, key, value] = [query, key, value].map(values::<E, _>);
                tensor(kernel.forward::<E>(&query, &key, &value), shape)
            },
            plain::multi_head_attention(query, key, value, heads)
        )
    }

    fn geglu(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        let [n, tokens, double] = x.dims();
        with_element_type!(
            x.dtype(),
            E => {
                let y = geglu::forward::<E>(&values(x), double / 2);
                tensor(y, [n, tokens, double / 2])
            },
            plain::geglu(x)
        )
    }

    fn feed_forward(
        x: Tensor<Self, 3>,
        weights: [Tensor<Self, 2>; 2],
        biases: [Tensor<Self, 1>; 2],
    ) -> Tensor<Self, 3> {
        let [n, tokens, input] = x.dims();
        let shapes = weights.each_ref().map(|weight| weight.dims());
        let [[channels, up_channels], [hidden, output]] = shapes;
        assert_eq!(
            (channels, up_channels),
            (input, 2 * hidden),
            "shapes disagree"
        );
        with_element_type!(
            x.dtype(),
            E => {
                let x = values::<E, _>(x);
                let (weights, biases) = (weights.map(values), biases.map(values));
                let layer = |i: usize| LinearKernel::<E> {
                    weight: Matrix::rows(&weights[i], shapes[i][0], shapes[i][1]),
                    bias: Some(&biases[i]),
                };
                let x = Matrix::rows(&x, n * tokens, input);
                let y = linear::feed_forward(x, [layer(0), layer(1)]);
                tensor(y, [n, tokens, output])
            },
            plain::feed_forward(x, weights, biases)
        )
    }

    fn geglu_backward(x: Tensor<Self, 3>, gradient: Tensor<Self, 3>) -> Tensor<Self, 3> {
        if x.dtype() != DType::F32 {
            return plain::geglu_backward(x, gradient);
        }
        let shape = x.dims();
        let [x, gradient] = [values::<f32, _>(x), values(gradient)];
        let dx = geglu::backward(&x, &gradient, shape[2] / 2);
        tensor(dx, shape)
    }

    fn workspace(operation: Operation, pictures: usize) -> u64 {
        workspace::workspace(operation, pictures)
    }
}

/// [`Backend::mix`] of an f32 tensor with a tensor of any supported precision.
fn mix<B: Element, const D: usize>(
    a: Tensor<Flex, D>,
    b: Tensor<Flex, D>,
    weights: [f32; 2],
) -> Tensor<Flex, D> {
    let shape = a.dims();
    let (mut a, mut b) = (values::<f32, _>(a), values::<B, _>(b));
    // The sum replaces an operand that no other tensor shares.
    if let Some(to) = a.unique() {
        copy::mix_into(to, &b, weights);
        return from_primitive(a.into_tensor());
    }
    if let Some(to) = b.unique_in_f32() {
        copy::mix_into(to, &a, [weights[1], weights[0]]);
        return from_primitive(b.into_tensor());
    }
    tensor(copy::mixed(&a, &b, weights), shape)
}
