//! Progress and cancellation.

use super::{Model, plain};
use gendr_pix_c::*;
use std::ffi::c_void;
use std::thread::{self, ThreadId};

/// What the callback has received, and what it does.
struct Watcher {
    calls: Vec<(f64, ThreadId)>,
    /// Cancelled by another thread during this call, counted from one.
    cancel_at: usize,
    cancel: *mut GendrPixCancel,
}

impl Watcher {
    fn new(cancel_at: usize) -> Self {
        Self {
            calls: Vec::new(),
            cancel_at,
            cancel: gendr_pix_cancel_new(),
        }
    }

    fn options(&mut self) -> GendrPixOptions {
        GendrPixOptions {
            progress: Some(on_progress),
            user: (&raw mut *self).cast(),
            cancel: self.cancel,
            ..plain()
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        unsafe { gendr_pix_cancel_free(self.cancel) };
    }
}

/// # Safety
///
/// `user` must be a `Watcher` that nothing else uses.
unsafe extern "C" fn on_progress(fraction: f64, user: *mut c_void) {
    let watcher = unsafe { &mut *user.cast::<Watcher>() };
    watcher.calls.push((fraction, thread::current().id()));
    if watcher.calls.len() == watcher.cancel_at {
        let token = watcher.cancel.expose_provenance();
        let cancel = move || unsafe { gendr_pix_cancel(std::ptr::with_exposed_provenance(token)) };
        thread::spawn(cancel).join().unwrap();
    }
}

#[test]
fn progress_rises_to_one() {
    let model = Model::bundled();
    let mut bytes: Vec<u8> = (0..12 * 12).map(|i| (i * 53 % 256) as u8).collect();
    let expected = model.upscale(&mut bytes, [12, 12, 1], Some(plain()));
    let mut watcher = Watcher::new(0);
    let options = watcher.options();
    let outcome = model.upscale(&mut bytes, [12, 12, 1], Some(options));
    assert!(outcome.is_ok() && outcome == expected);

    let fractions: Vec<f64> = watcher.calls.iter().map(|call| call.0).collect();
    assert!(fractions.len() > 10, "{fractions:?}");
    assert!(fractions.is_sorted(), "{fractions:?}");
    assert!(fractions[0] > 0.0 && fractions[0] < 0.5, "{fractions:?}");
    assert_eq!(fractions.last(), Some(&1.0));
    let here = thread::current().id();
    assert!(watcher.calls.iter().all(|call| call.1 == here));
}

#[test]
fn another_thread_cancels_a_call() {
    let model = Model::bundled();
    let mut watcher = Watcher::new(3);
    let options = watcher.options();
    let cancelled = Err((GendrPixStatus::Cancelled, "cancelled".to_owned()));
    let outcome = model.upscale(&mut [9; 12 * 12], [12, 12, 1], Some(options));
    assert_eq!(outcome, cancelled);
    assert_eq!(watcher.calls.len(), 3);

    // The token stays cancelled.
    let outcome = model.upscale(&mut [9; 12 * 12], [12, 12, 1], Some(options));
    assert_eq!(outcome, cancelled);
    assert_eq!(watcher.calls.len(), 3);
}

#[test]
fn the_callback_cancels_the_call() {
    unsafe extern "C" fn cancel(_: f64, token: *mut c_void) {
        unsafe { gendr_pix_cancel(token.cast()) };
    }
    let model = Model::bundled();
    let token = gendr_pix_cancel_new();
    let options = GendrPixOptions {
        progress: Some(cancel),
        user: token.cast(),
        cancel: token,
        ..plain()
    };
    let outcome = model.upscale(&mut [9; 12 * 12], [12, 12, 1], Some(options));
    assert_eq!(outcome.unwrap_err().0, GendrPixStatus::Cancelled);
    unsafe { gendr_pix_cancel_free(token) };
}
