//! The transforms of F(4, 3) for the points 0, ±3/4, ±3/2 and infinity, on sixteen channels at a
//! time.

use super::super::lanes::{self, Lanes, add, fma, scale, sub};
use super::super::layout::{Block, LINE};
use super::super::tiles::Tiles;

/// Pixels of a quad.
pub(super) const QUAD: usize = 4;
/// Rows and columns of the kernel.
pub(super) const KERNEL: usize = 3;
/// Pixels that contribute to a quad, and numbers in a transform.
pub(super) const POSITIONS: usize = QUAD + KERNEL - 1;

/// The bits of 32 channels of a pixel: the even channels, then the odd channels.
pub(super) type Pixel = [[u32; LINE]; 2];

/// The input transform `B^T d` for the even channels (`half` 0) or the odd channels (`half` 1).
#[inline(always)]
pub(super) fn input_transform(tiles: Tiles, pixels: &[Pixel], half: usize) -> [Lanes; POSITIONS] {
    let mut d = [lanes::splat(tiles, 0.0); POSITIONS];
    for (d, pixel) in d.iter_mut().zip(pixels) {
        *d = lanes::from_bits(tiles, pixel[half]);
    }
    let even = [
        fma(tiles, d[2], -9.0 / 4.0, d[4]),
        fma(tiles, d[2], -9.0 / 16.0, d[4]),
    ];
    let odd = [
        fma(tiles, d[1], -27.0 / 16.0, scale(tiles, d[3], 3.0 / 4.0)),
        fma(tiles, d[1], -27.0 / 32.0, scale(tiles, d[3], 3.0 / 2.0)),
    ];
    [
        fma(
            tiles,
            d[0],
            81.0 / 64.0,
            fma(tiles, d[2], -45.0 / 16.0, d[4]),
        ),
        add(tiles, even[0], odd[0]),
        sub(tiles, even[0], odd[0]),
        add(tiles, even[1], odd[1]),
        sub(tiles, even[1], odd[1]),
        fma(
            tiles,
            d[1],
            81.0 / 64.0,
            fma(tiles, d[3], -45.0 / 16.0, d[5]),
        ),
    ]
}

/// The weight transform `G g` for a row of the kernel.
#[inline(always)]
pub(super) fn weight_transform(tiles: Tiles, row: &[[f32; LINE]]) -> [Lanes; POSITIONS] {
    let mut g = [lanes::splat(tiles, 0.0); KERNEL];
    for (g, values) in g.iter_mut().zip(row) {
        *g = lanes::load(tiles, values);
    }
    let even = [
        scale(tiles, fma(tiles, g[2], 9.0 / 16.0, g[0]), -128.0 / 243.0),
        scale(tiles, fma(tiles, g[2], 9.0 / 4.0, g[0]), 32.0 / 243.0),
    ];
    [
        scale(tiles, g[0], 64.0 / 81.0),
        fma(tiles, g[1], -32.0 / 81.0, even[0]),
        fma(tiles, g[1], 32.0 / 81.0, even[0]),
        fma(tiles, g[1], 16.0 / 81.0, even[1]),
        fma(tiles, g[1], -16.0 / 81.0, even[1]),
        g[2],
    ]
}

/// The output transform `A^T m` for 16 values of a row of the blocks, from `column` on.
#[inline(always)]
pub(super) fn output_transform(
    tiles: Tiles,
    blocks: [&Block; POSITIONS],
    row: usize,
    column: usize,
) -> [Lanes; QUAD] {
    let mut m = [lanes::splat(tiles, 0.0); POSITIONS];
    for (m, block) in m.iter_mut().zip(blocks) {
        *m = lanes::load(tiles, &block.0[row][column..]);
    }
    let even = [add(tiles, m[1], m[2]), add(tiles, m[3], m[4])];
    let odd = [sub(tiles, m[1], m[2]), sub(tiles, m[3], m[4])];
    [
        add(tiles, m[0], add(tiles, even[0], even[1])),
        fma(tiles, odd[0], 3.0 / 4.0, scale(tiles, odd[1], 3.0 / 2.0)),
        fma(tiles, even[0], 9.0 / 16.0, scale(tiles, even[1], 9.0 / 4.0)),
        fma(
            tiles,
            odd[0],
            27.0 / 64.0,
            fma(tiles, odd[1], 27.0 / 8.0, m[5]),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_products_give_the_convolution_at_four_pixels() {
        let Some(tiles) = Tiles::new::<f32>() else {
            return eprintln!("skipped: no matrix unit");
        };
        let wave = |i: usize| ((i * i) as f32 / 3.0).sin();
        let pixels: [Pixel; POSITIONS] =
            std::array::from_fn(|i| [[wave(i).to_bits(); LINE], [wave(i + 6).to_bits(); LINE]]);
        let row: [[f32; LINE]; KERNEL] = std::array::from_fn(|i| [wave(i + 20); LINE]);
        let weights = weight_transform(tiles, &row);
        for half in 0..2 {
            let d = input_transform(tiles, &pixels, half);
            let bits = |values| lanes::bits(tiles, values).map(f32::from_bits);
            let products: [Block; POSITIONS] = std::array::from_fn(|i| {
                let mut block = Block::ZERO;
                block.0[1][LINE..].fill(bits(d[i])[0] * bits(weights[i])[0]);
                block
            });
            let found = output_transform(tiles, products.each_ref(), 1, LINE).map(bits);
            for (i, found) in found.into_iter().enumerate() {
                let terms = (0..KERNEL).map(|k| f32::from_bits(pixels[i + k][half][0]) * row[k][0]);
                let error = found[0] - terms.sum::<f32>();
                assert!(error.abs() < 1e-6, "pixel {i}: off by {error:e}");
            }
        }
    }
}
