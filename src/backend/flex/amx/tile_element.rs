//! Packing of f32 and bf16 values for the matrix unit.

use super::super::element::Element;
use super::lanes;
use super::layout::LINE;
use super::tiles::Tiles;
use half::bf16;
use std::cell::Cell;
use std::thread::LocalKey;

/// An element type that can be packed into lines.
pub(crate) trait TileElement: Element {
    /// Packs the first 32 of `values` into a line for each of [`Tiles::parts`], with zeros for
    /// missing values. A pair consists of adjacent values.
    fn pack_adjacent(tiles: Tiles, values: &[Self]) -> [[u32; LINE]; 2];

    /// Like [`pack_adjacent`](Self::pack_adjacent), but a pair consists of a value of `first` and
    /// one of `second`.
    fn pack_interleaved(tiles: Tiles, first: &[Self], second: &[Self]) -> [[u32; LINE]; 2];

    /// Returns the bits of the first 16 of `values` in f32, with zeros for missing values.
    fn load_bits(tiles: Tiles, values: &[Self]) -> [u32; LINE];

    /// This thread's scratch memory for im2col columns.
    fn column_scratch() -> &'static LocalKey<Cell<Vec<Self>>>;
}

impl TileElement for f32 {
    #[inline(always)]
    fn pack_adjacent(tiles: Tiles, values: &[Self]) -> [[u32; LINE]; 2] {
        let [first, second] = lanes::load_pairs(tiles, values);
        lanes::split(tiles, first, second)
    }

    #[inline(always)]
    fn pack_interleaved(tiles: Tiles, first: &[Self], second: &[Self]) -> [[u32; LINE]; 2] {
        let [first, second] = [first, second].map(|values| lanes::load(tiles, values));
        lanes::split(tiles, first, second)
    }

    #[inline(always)]
    fn load_bits(tiles: Tiles, values: &[Self]) -> [u32; LINE] {
        lanes::bits(tiles, lanes::load(tiles, values))
    }

    fn column_scratch() -> &'static LocalKey<Cell<Vec<Self>>> {
        thread_local! {
            static COLUMNS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
        }
        &COLUMNS
    }
}

impl TileElement for bf16 {
    #[inline(always)]
    fn pack_adjacent(tiles: Tiles, values: &[Self]) -> [[u32; LINE]; 2] {
        [lanes::load_bf16(tiles, values), [0; LINE]]
    }

    #[inline(always)]
    fn pack_interleaved(tiles: Tiles, first: &[Self], second: &[Self]) -> [[u32; LINE]; 2] {
        [lanes::interleave_bf16(tiles, first, second), [0; LINE]]
    }

    #[inline(always)]
    fn load_bits(tiles: Tiles, values: &[Self]) -> [u32; LINE] {
        lanes::interleave_bf16(tiles, &[], values)
    }

    fn column_scratch() -> &'static LocalKey<Cell<Vec<Self>>> {
        thread_local! {
            static COLUMNS: Cell<Vec<bf16>> = const { Cell::new(Vec::new()) };
        }
        &COLUMNS
    }
}
