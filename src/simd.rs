//! Selects the vector instructions of the CPU at run time.

/// Calls `work` in a copy that is compiled for the best vector instructions of this CPU. Only code
/// that is inlined into `work` uses them.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
