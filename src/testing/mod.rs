//! Helpers that unit tests share.

#[cfg(feature = "flex")]
pub(crate) mod checkpoint;
#[cfg(all(feature = "ndarray", feature = "train"))]
pub(crate) mod finite_difference;
#[cfg(feature = "flex")]
pub(crate) mod golden;
