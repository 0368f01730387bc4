//! The polynomial behind `exp2`.

/// Coefficients of the polynomial that is closest to `2^x` between 0 and 1, by the Remez algorithm,
/// starting with that of `x^5`. The error is below 8e-8.
pub(super) const EXP2: [f32; 6] = [
    0.001_877_576,
    0.008_989_342,
    0.055_826_318,
    0.240_153_61,
    0.693_153_1,
    0.999_999_94,
];
