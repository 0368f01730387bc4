//! Tests of the operations on lanes against the portable operations and f64 arithmetic.

use super::super::layout::LINE;
use super::super::tiles::Tiles;
use super::*;
use half::bf16;

#[test]
fn two_parts_hold_seventeen_bits() {
    for i in 0..200_000u32 {
        let x = f32::from_bits(0x2000_0000 + i * 4093);
        for x in [x, -x] {
            let [high, low] = portable::parts(x).map(|part| f64::from(f32::from_bits(part)));
            let error = (high + low - f64::from(x)) / f64::from(x);
            assert!(error.abs() <= 2f64.powi(-17), "{x:e}: off by {error:e}");
        }
    }
    for bits in [
        0x7fc0_0000,
        0x7fff_ffff,
        0xffff_ffff,
        0x7f80_0001,
        0x7fff_8000,
    ] {
        let [high, _] = portable::parts(f32::from_bits(bits));
        assert!(f32::from_bits(high).is_nan(), "{bits:x}");
    }
}

#[test]
fn exp2_is_accurate_to_the_last_places() {
    let Some(tiles) = Tiles::new::<bf16>() else {
        return eprintln!("skipped: no unit for bf16");
    };
    let exp2_of = |x: f32| f32::from_bits(bits(tiles, exp2(tiles, splat(tiles, x)))[0]);
    for i in 0..1_000_000 {
        let x = 127.0 - i as f32 * 253.0 / 1e6;
        let expected = f64::from(x).exp2();
        for found in [
            exp2_of(x),
            portable::exp2(tiles, portable::splat(tiles, x))[0],
        ] {
            let error = (f64::from(found) / expected - 1.0).abs();
            assert!(error < 3e-7, "2^{x}: off by {error:e}");
        }
    }
    for (x, expected) in [
        (f32::NEG_INFINITY, 0.0),
        (-1e30, 0.0),
        (-200.0, 0.0),
        (0.0, 1.0),
    ] {
        for found in [
            exp2_of(x),
            portable::exp2(tiles, portable::splat(tiles, x))[0],
        ] {
            assert!((found - expected).abs() < 2e-7, "2^{x}: {found}");
        }
    }
    assert!(exp2_of(f32::NAN).is_nan());
}

#[test]
fn arithmetic_matches_the_portable_operations() {
    let Some(tiles) = Tiles::new::<bf16>() else {
        return eprintln!("skipped: no unit for bf16");
    };
    let values: Vec<f32> = (0..2 * LINE).map(|i| ((i * i) as f32).sin()).collect();
    let (first, second) = values.split_at(LINE);
    let [a, b] = [first, second].map(|values| load(tiles, values));
    let [c, d] = [first, second].map(|values| portable::load(tiles, values));
    for (found, expected) in [
        (a, c),
        (fma(tiles, a, 0.3, b), portable::fma(tiles, c, 0.3, d)),
        (add(tiles, a, b), portable::add(tiles, c, d)),
        (sub(tiles, a, b), portable::sub(tiles, c, d)),
        (scale(tiles, a, 0.3), portable::scale(tiles, c, 0.3)),
        (max(tiles, a, b), portable::max(tiles, c, d)),
    ] {
        let found = bits(tiles, found);
        assert_eq!(found, portable::bits(tiles, expected));
        assert_eq!(bits(tiles, from_bits(tiles, found)), found);
        assert_eq!(portable::from_bits(tiles, found), expected);
    }
    assert_eq!(reduce_max(tiles, a), portable::reduce_max(tiles, c));
    let error = reduce_sum(tiles, a) - portable::reduce_sum(tiles, c);
    assert!(error.abs() < 1e-5, "off by {error:e}");
}

#[test]
fn packing_matches_the_portable_operations() {
    let mut values: Vec<f32> = (0..100).map(|i| ((i * i) as f32).sin() * 1e3).collect();
    values[3] = f32::from_bits(0x7fff_ffff);
    let in_bf16: Vec<bf16> = values.iter().copied().map(bf16::from_f32).collect();
    for tiles in [Tiles::new::<f32>(), Tiles::new::<bf16>()] {
        let Some(tiles) = tiles else {
            return eprintln!("skipped: no matrix unit");
        };
        for count in [0, 1, 15, 16, 17, 31, 32, 40] {
            let (from, other) = (&values[..count], &values[50..]);
            let expected = [
                portable::split(
                    tiles,
                    portable::load(tiles, from),
                    portable::load(tiles, other),
                ),
                {
                    let [first, second] = portable::load_pairs(tiles, from);
                    portable::split(tiles, first, second)
                },
            ];
            let found = [split(tiles, load(tiles, from), load(tiles, other)), {
                let [first, second] = load_pairs(tiles, from);
                split(tiles, first, second)
            }];
            assert_eq!(found, expected, "{count}");
            let (from, other) = (&in_bf16[..count], &in_bf16[50..]);
            let expected = [
                portable::load_bf16(tiles, from),
                portable::interleave_bf16(tiles, from, other),
            ];
            let found = [load_bf16(tiles, from), interleave_bf16(tiles, from, other)];
            assert_eq!(found, expected, "{count}");
        }
        let square = std::array::from_fn(|i| std::array::from_fn(|j| (LINE * i + j) as u32));
        let [mut found, mut expected] = [square; 2];
        transpose(tiles, &mut found);
        portable::transpose(tiles, &mut expected);
        assert_eq!(found, expected);
    }
}
