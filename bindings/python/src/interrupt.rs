//! Ctrl-C during an enlargement. Python runs signal handlers only when asked to check for signals.

use gendr_pix::{Cancel, Upscale};
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Interval between checks. A check may have to wait for Python's other threads.
const EVERY: Duration = Duration::from_millis(100);

/// The exception that a signal handler has raised, if any.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<Mutex<Option<PyErr>>>);

impl Interrupt {
    /// Returns `options` with a progress callback that checks for signals and cancels if a handler
    /// raises.
    pub(crate) fn watching(&self, options: Upscale) -> Upscale {
        let (raised, cancel) = (self.clone(), Cancel::new());
        let token = cancel.clone();
        let last = Mutex::new(Instant::now());
        options.cancel(cancel).on_progress(move |_| {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= EVERY {
                if let Err(error) = Python::attach(|py| py.check_signals()) {
                    raised.set(Some(error));
                    token.cancel();
                }
                *last = Instant::now();
            }
        })
    }

    /// Raises the handler's exception, if any.
    pub(crate) fn check(&self) -> PyResult<()> {
        self.set(None).map_or(Ok(()), Err)
    }

    fn set(&self, error: Option<PyErr>) -> Option<PyErr> {
        let mut raised = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *raised, error)
    }
}
