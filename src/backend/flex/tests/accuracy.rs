//! The errors that the documentation of the matrix products states, against f64 arithmetic.

use super::*;

/// Returns the largest error relative to the largest exact number.
fn error(found: &[f32], exact: &[f64]) -> f64 {
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0f64, |a, b| a.max(b.abs()));
    let pairs = found.iter().zip(exact);
    let error = largest(&mut pairs.map(|(found, exact)| f64::from(*found) - exact));
    error / largest(&mut exact.iter().copied())
}

#[test]
fn products_have_the_documented_error() {
    let (tokens, input, channels) = (97, 1000, 130);
    let [x, weight] = [random([tokens, input]), random([input, channels])].map(values::<f32, _>);
    let (x, weight): (&[f32], &[f32]) = (&x, &weight);
    let exact = (0..tokens * channels).map(|i| {
        let row = x[i / channels * input..][..input].iter();
        let column = weight[i % channels..].iter().step_by(channels);
        row.zip(column)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    });
    let exact: Vec<f64> = exact.collect();
    for (tiles, bound) in [(None, 2e-6), (Tiles::new::<f32>(), 7e-6)] {
        let layer = LinearKernel {
            weight: Matrix::rows(weight, input, channels),
            bias: None,
        };
        let found = layer.forward(Matrix::rows(x, tokens, input), tiles);
        let error = error(&found, &exact);
        assert!(error <= bound, "{error:e}");
    }
}

#[test]
fn convolutions_have_the_documented_error() {
    let Some(tiles) = Tiles::new::<f32>() else {
        return eprintln!("skipped: no matrix unit");
    };
    let (channels, h, w, outputs) = (320, 12, 16, 33);
    let (x, weight) = (
        random([1, channels, h, w]),
        random([outputs, channels, 3, 3]),
    );
    let padded = x.clone().pad((1, 1, 1, 1), 0.0);
    let [x, padded] = [x, padded].map(values::<f32, _>);
    let weight = values::<f32, _>(weight);
    let exact = (0..outputs * h * w).map(|i| {
        let (output, first) = (i / (h * w), i / w % h * (w + 2) + i % w);
        let weights = weight[output * channels * 9..][..channels * 9].iter();
        let terms = weights.enumerate().map(|(i, weight)| {
            let offset = i / 9 * (h + 2) * (w + 2) + i / 3 % 3 * (w + 2) + i % 3;
            f64::from(*weight) * f64::from(padded[first + offset])
        });
        terms.sum()
    });
    let exact: Vec<f64> = exact.collect();
    let kernel = ConvolutionKernel::new::<f32>([1, channels, h, w], [outputs, channels, 3, 3], 1);
    let bias = vec![0.0; outputs];
    for (algorithm, bound) in [
        (ConvolutionAlgorithm::Im2col, 7e-6),
        (ConvolutionAlgorithm::Sliding, 7e-6),
        (ConvolutionAlgorithm::Winograd, 1.5e-5),
    ] {
        let kernel = kernel
            .with_tiles(Some(tiles))
            .with_algorithm(algorithm)
            .expect("the algorithm supports these shapes");
        let error = error(&kernel.forward(&x, &weight, &bias), &exact);
        assert!(error <= bound, "{algorithm:?}: {error:e}");
    }
}
