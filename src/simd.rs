//! Vector instructions by CPU.

/// Runs `work` compiled for the best vector instructions of this CPU: what is inlined into it is vectorised for them.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
