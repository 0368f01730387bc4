//! Between the bytes of a stored tensor and values in the precision of the memory.

use super::Storage;
use burn::tensor::Element;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Rows and columns of a tile: 16 rows give the transposed writes whole cache lines, and a tile stays in the L1 and L2
/// caches.
const TILE: [usize; 2] = [16, 1024];

/// A precision of the memory.
pub(crate) trait Value: Element {
    /// Rounds to nearest; what is too large becomes infinite.
    fn from_f32(value: f32) -> Self;
    fn is_finite(self) -> bool;
}

macro_rules! value {
    ($type:ty, $from:expr) => {
        impl Value for $type {
            fn from_f32(value: f32) -> Self {
                $from(value)
            }
            fn is_finite(self) -> bool {
                self.is_finite()
            }
        }
    };
}

value!(f32, |value| value);
value!(f64, f64::from);
value!(f16, f16::from_f32);
value!(bf16, bf16::from_f32);

/// The values of a tensor, seen as a matrix of `rows` rows and transposed; one row keeps the order.
///
/// `None` when a value is not finite, before or after rounding to `E`.
pub(crate) fn decode<E: Value>(bytes: &[u8], storage: Storage, rows: usize) -> Option<Vec<E>> {
    let size = storage.size();
    let count = bytes.len() / size;
    let mut values = vec![E::from_f32(0.0); count];
    let cols = count / rows.max(1);
    let mut tile = vec![0.0; TILE[0] * TILE[1]];
    let mut column = [0.0; TILE[0]];
    let mut half_row = HalfRow::default();
    let mut finite = true;
    for row in (0..rows).step_by(TILE[0]) {
        let height = TILE[0].min(rows - row);
        for col in (0..cols).step_by(TILE[1]) {
            let width = TILE[1].min(cols - col);
            for r in 0..height {
                let start = ((row + r) * cols + col) * size;
                let stored = &bytes[start..start + width * size];
                half_row.widen(stored, storage, &mut tile[r * TILE[1]..][..width]);
            }
            if rows == 1 {
                finite &= convert(&tile[..width], &mut values[col..col + width]);
                continue;
            }
            for c in 0..width {
                let start = (col + c) * rows + row;
                for (r, value) in column.iter_mut().enumerate() {
                    *value = tile[r * TILE[1] + c];
                }
                finite &= convert(&column[..height], &mut values[start..start + height]);
            }
        }
    }
    finite.then_some(values)
}

/// Rounds values to `E`, and tells whether all are finite then.
fn convert<E: Value>(from: &[f32], to: &mut [E]) -> bool {
    let mut finite = true;
    for (to, &from) in to.iter_mut().zip(from) {
        *to = E::from_f32(from);
        finite &= to.is_finite();
    }
    finite
}

/// Room to align a tile's row of half-precision values: a slice of a file may start at any byte.
#[derive(Default)]
struct HalfRow {
    f16: Vec<f16>,
    bf16: Vec<bf16>,
}

impl HalfRow {
    /// One row in f32; whole slices, as processors convert eight halves at a time.
    fn widen(&mut self, bytes: &[u8], storage: Storage, out: &mut [f32]) {
        let halves = bytes.as_chunks::<2>().0;
        match storage {
            Storage::F32 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *out = f32::from_le_bytes(*bytes);
                }
            }
            Storage::F16 => {
                self.f16.clear();
                self.f16
                    .extend(halves.iter().map(|&bytes| f16::from_le_bytes(bytes)));
                self.f16.convert_to_f32_slice(out);
            }
            Storage::BF16 => {
                self.bf16.clear();
                self.bf16
                    .extend(halves.iter().map(|&bytes| bf16::from_le_bytes(bytes)));
                self.bf16.convert_to_f32_slice(out);
            }
        }
    }
}

/// The bytes of values, rounded to nearest.
///
/// `None` when a value is not finite, before or after rounding.
pub(crate) fn encode(values: &[f32], storage: Storage) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(values.len() * storage.size());
    for &value in values {
        let finite = match storage {
            Storage::F32 => {
                bytes.extend(value.to_le_bytes());
                value.is_finite()
            }
            Storage::F16 => {
                let value = f16::from_f32(value);
                bytes.extend(value.to_le_bytes());
                value.is_finite()
            }
            Storage::BF16 => {
                let value = bf16::from_f32(value);
                bytes.extend(value.to_le_bytes());
                value.is_finite()
            }
        };
        if !finite {
            return None;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STORAGES: [Storage; 3] = [Storage::F32, Storage::F16, Storage::BF16];

    /// What `storage` makes of a value.
    fn rounded(value: f32, storage: Storage) -> f32 {
        match storage {
            Storage::F32 => value,
            Storage::F16 => f16::from_f32(value).to_f32(),
            Storage::BF16 => bf16::from_f32(value).to_f32(),
        }
    }

    #[test]
    fn decode_transposes_across_tiles() {
        for [rows, cols] in [[1, 5000], [17, 1025], [33, 2], [5000, 1], [16, 1024]] {
            let value = |r: usize, c: usize| ((r * 31 + c * 7) % 97) as f32;
            let stored: Vec<f32> = (0..rows * cols)
                .map(|i| value(i / cols, i % cols))
                .collect();
            for storage in STORAGES {
                let bytes = encode(&stored, storage).unwrap();
                let values: Vec<f32> = decode(&bytes, storage, rows).unwrap();
                for (i, &found) in values.iter().enumerate() {
                    assert_eq!(
                        found,
                        value(i % rows, i / rows),
                        "{rows}x{cols} {storage:?} {i}"
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_is_nothing() {
        for rows in [0, 1, 3] {
            assert_eq!(
                decode::<f32>(&[], Storage::F16, rows).map(|v| v.len()),
                Some(0)
            );
        }
    }

    #[test]
    fn values_that_are_not_finite_are_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for storage in STORAGES {
                assert!(encode(&[0.0, bad], storage).is_none());
            }
            let bytes = [0.0f32, bad].map(f32::to_le_bytes).concat();
            assert!(decode::<f32>(&bytes, Storage::F32, 1).is_none());
        }
        // Too large for half precision, on either side.
        assert!(encode(&[65_520.0], Storage::F16).is_none());
        assert!(encode(&[65_504.0], Storage::F16).is_some());
        let bytes = 1e5f32.to_le_bytes();
        assert!(decode::<f16>(&bytes, Storage::F32, 1).is_none());
        assert!(decode::<bf16>(&bytes, Storage::F32, 1).is_some());
    }

    proptest! {
        #[test]
        fn decode_undoes_encode_but_for_rounding(
            values in prop::collection::vec(-6e4f32..6e4, 0..2000),
            shift in 0usize..4,
        ) {
            for storage in STORAGES {
                let expected: Vec<f32> = values.iter().map(|&v| rounded(v, storage)).collect();
                // At any alignment.
                let mut bytes = vec![0; shift];
                bytes.extend(encode(&values, storage).unwrap());
                prop_assert_eq!(decode::<f32>(&bytes[shift..], storage, 1).unwrap(), expected);
            }
        }
    }
}
