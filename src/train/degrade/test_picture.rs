//! A picture for the tests of degradations, and the distance between two pictures.

use crate::pixels::planes::Planes;

/// Smooth colour waves with some fine detail.
pub(super) fn waves(width: usize, height: usize) -> Planes {
    let mut picture = Planes::filled(3, width, height, 0.0);
    for c in 0..3 {
        for (i, value) in picture.plane_mut(c).iter_mut().enumerate() {
            let (x, y) = ((i % width) as f32, (i / width) as f32);
            *value = 0.5
                + 0.3 * (x * 0.05 * (c + 1) as f32).sin() * (y * 0.07).cos()
                + 0.15 * (x * 0.9 + y * 0.7 + c as f32).sin();
        }
    }
    picture
}

/// Returns the root mean square of the difference.
pub(super) fn distance(a: &Planes, b: &Planes) -> f32 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let squares = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).powi(2));
    (squares.sum::<f32>() / a.data.len() as f32).sqrt()
}
