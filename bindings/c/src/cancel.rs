//! A token that stops an enlargement from any thread.

use gendr_pix::Cancel;

/// A token that stops the calls of `gendr_pix_upscale` whose options hold it. Threads may share it.
#[derive(Debug)]
pub struct GendrPixCancel(pub(crate) Cancel);

/// Creates a token. Never returns NULL. Free the token with `gendr_pix_cancel_free`.
#[unsafe(no_mangle)]
pub extern "C" fn gendr_pix_cancel_new() -> *mut GendrPixCancel {
    Box::into_raw(Box::new(GendrPixCancel(Cancel::new())))
}

/// Cancels the calls of `gendr_pix_upscale` that use the token, now and later. This cannot be
/// undone: use a new token for the next picture. Does nothing if `cancel` is NULL.
///
/// May be called from any thread, from the progress callback, and from a signal handler.
///
/// # Safety
///
/// `cancel` must be NULL or a token that has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gendr_pix_cancel(cancel: *const GendrPixCancel) {
    // SAFETY: the caller's promise.
    if let Some(cancel) = unsafe { cancel.as_ref() } {
        cancel.0.cancel();
    }
}

/// Frees a token. Does nothing if `cancel` is NULL.
///
/// # Safety
///
/// `cancel` must be NULL or come from `gendr_pix_cancel_new`. No other thread and no running call
/// may be using it, and it must not be used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gendr_pix_cancel_free(cancel: *mut GendrPixCancel) {
    if !cancel.is_null() {
        // SAFETY: by the caller's promise it comes from `Box::into_raw`.
        drop(unsafe { Box::from_raw(cancel) });
    }
}
