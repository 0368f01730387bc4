//! Data-parallel training on several devices.
//!
//! A replica runs on each device, processes its share of every step's batches, and sums its
//! gradients with those of the others (all-reduce). The result equals that of one device, except
//! for the order of the sums.
//!
//! The implementation uses `burn::collective` (burn-collective, feature `collective`). Its peers
//! are threads, and it works on any backend. burn 0.21's feature `distributed` does the same within
//! the backward pass, but does not support the CPU: with it, `Autodiff<B>` is an `AutodiffBackend`
//! only if `B` is a `DistributedBackend`, and neither flex nor ndarray is one. CUDA is the only GPU
//! runtime with the all-reduce that it needs.

#[cfg(not(feature = "collective"))]
mod disabled;
#[cfg(feature = "collective")]
mod enabled;
mod rank;
#[cfg(all(test, feature = "collective", feature = "flex"))]
mod tests;

#[cfg(not(feature = "collective"))]
pub(super) use disabled::run_replicas;
#[cfg(feature = "collective")]
pub(super) use enabled::run_replicas;
pub(super) use rank::Replica;
