//! Selection of vector instructions at run time.

/// Calls `work`, compiled for the best vector instructions of this CPU. Code that is inlined into `work` is vectorised for them.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
