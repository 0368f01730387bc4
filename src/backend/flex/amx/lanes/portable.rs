//! The operations in portable Rust: the reference for the tests, and a stand-in on architectures
//! without the instructions, where it never runs.

use super::super::layout::LINE;
use super::super::tiles::Tiles;
use super::polynomial::EXP2;
use half::bf16;
use std::array::from_fn;

pub(crate) type Lanes = [f32; LINE];

#[inline(always)]
pub(crate) fn load(_: Tiles, values: &[f32]) -> Lanes {
    from_fn(|i| values.get(i).copied().unwrap_or_default())
}

#[inline(always)]
pub(crate) fn fma(_: Tiles, a: Lanes, factor: f32, b: Lanes) -> Lanes {
    from_fn(|i| a[i].mul_add(factor, b[i]))
}

#[inline(always)]
pub(crate) fn add(_: Tiles, a: Lanes, b: Lanes) -> Lanes {
    from_fn(|i| a[i] + b[i])
}

#[inline(always)]
pub(crate) fn sub(_: Tiles, a: Lanes, b: Lanes) -> Lanes {
    from_fn(|i| a[i] - b[i])
}

#[inline(always)]
pub(crate) fn scale(_: Tiles, a: Lanes, factor: f32) -> Lanes {
    a.map(|a| a * factor)
}

#[inline(always)]
pub(crate) fn splat(_: Tiles, value: f32) -> Lanes {
    [value; LINE]
}

#[inline(always)]
pub(crate) fn max(_: Tiles, a: Lanes, b: Lanes) -> Lanes {
    from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
}

#[inline(always)]
pub(crate) fn reduce_max(_: Tiles, values: Lanes) -> f32 {
    values.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[inline(always)]
pub(crate) fn reduce_sum(_: Tiles, values: Lanes) -> f32 {
    values.into_iter().sum()
}

#[inline(always)]
pub(crate) fn exp2(_: Tiles, x: Lanes) -> Lanes {
    x.map(|x| {
        let part = if x.is_infinite() { 0.0 } else { x - x.floor() };
        let power = EXP2
            .into_iter()
            .fold(0.0, |power: f32, factor| power.mul_add(part, factor));
        power * x.floor().exp2()
    })
}

#[inline(always)]
pub(crate) fn bits(_: Tiles, values: Lanes) -> [u32; LINE] {
    values.map(f32::to_bits)
}

#[inline(always)]
pub(crate) fn from_bits(_: Tiles, bits: [u32; LINE]) -> Lanes {
    bits.map(f32::from_bits)
}

#[inline(always)]
pub(crate) fn load_pairs(_: Tiles, values: &[f32]) -> [Lanes; 2] {
    [0, 1].map(|k| from_fn(|i| values.get(2 * i + k).copied().unwrap_or_default()))
}

#[inline(always)]
pub(crate) fn split(tiles: Tiles, first: Lanes, second: Lanes) -> [[u32; LINE]; 2] {
    let (first, second) = (first.map(parts), second.map(parts));
    let line = |part: usize| from_fn(|i| first[i][part] >> 16 | second[i][part]);
    match tiles.parts() {
        1 => [line(0), [0; LINE]],
        _ => [line(0), line(1)],
    }
}

#[inline(always)]
pub(crate) fn load_bf16(_: Tiles, values: &[bf16]) -> [u32; LINE] {
    from_fn(|i| pair(values.get(2 * i), values.get(2 * i + 1)))
}

#[inline(always)]
pub(crate) fn interleave_bf16(_: Tiles, first: &[bf16], second: &[bf16]) -> [u32; LINE] {
    from_fn(|i| pair(first.get(i), second.get(i)))
}

#[inline(always)]
pub(crate) fn transpose(_: Tiles, square: &mut [[u32; LINE]; LINE]) {
    let rows = *square;
    *square = from_fn(|i| from_fn(|j| rows[j][i]));
}

fn pair(first: Option<&bf16>, second: Option<&bf16>) -> u32 {
    let bits = |value: Option<&bf16>| u32::from(value.map_or(0, |value| value.to_bits()));
    bits(first) | bits(second) << 16
}

/// `x = high + low` to 17 bits. Each part is a bf16 number in the upper 16 bits.
pub(super) fn parts(x: f32) -> [u32; 2] {
    let high = if x.is_nan() {
        x.to_bits() | 0x40_0000
    } else {
        up(x)
    };
    let high = high & 0xffff_0000;
    [high, up(x - f32::from_bits(high)) & 0xffff_0000]
}

fn up(x: f32) -> u32 {
    x.to_bits().wrapping_add(0x8000)
}
