//! Ctrl-C while a picture is enlarged: Python hears signals only where it is asked to.

use gendr_pix::{Cancel, Upscale};
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is asked. It may have to wait for Python's other threads.
const EVERY: Duration = Duration::from_millis(100);

/// What the handler of a signal has raised, if one has.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<Mutex<Option<PyErr>>>);

impl Interrupt {
    /// The options with signals heard along with progress: an exception cancels.
    pub(crate) fn heard_with(&self, options: Upscale) -> Upscale {
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

    /// Raises what was raised.
    pub(crate) fn check(&self) -> PyResult<()> {
        self.set(None).map_or(Ok(()), Err)
    }

    fn set(&self, error: Option<PyErr>) -> Option<PyErr> {
        let mut raised = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *raised, error)
    }
}
