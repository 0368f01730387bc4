//! Progress of the work, and its cancellation.
//!
//! A [`Watch`] represents a share of the work. Each function that does this work receives it, and
//! divides it among the parts of the work (passes, tiles, layers). A function does not need to know
//! the shares of others.

use crate::error::Error;
#[cfg(doc)]
use crate::options::Upscale;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The progress of an enlargement, as [`Upscale::on_progress`] reports it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// The phase that the finished part belongs to.
    pub phase: Phase,
    /// The finished share of the whole work, from 0 to 1. It never decreases, and it is 1 at the
    /// end. Each phase has a fixed share. Within a phase, all passes, tiles and layers have equal
    /// shares, however long they take.
    pub fraction: f64,
}

/// The phases of an enlargement, in order. With tiles, all phases except the last repeat for each
/// row of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// The picture is resized to the output's size.
    Resize,
    /// The model runs.
    Restore,
    /// Colours and detail are matched to the input.
    Correct,
    /// The result is converted to a picture of the input's kind.
    Finish,
}

impl Phase {
    /// Returns the fractions at which the phase begins and ends. The shares are approximately those
    /// of the bundled model's time. With a larger model or more passes, the restoration takes a
    /// larger share than stated here.
    fn span(self) -> [f64; 2] {
        match self {
            Self::Resize => [0.0, 0.05],
            Self::Restore => [0.05, 0.9],
            Self::Correct => [0.9, 0.97],
            Self::Finish => [0.97, 1.0],
        }
    }
}

/// A token that stops all enlargements whose options contain it ([`Upscale::cancel`]). A clone is
/// the same token: keep one, and call [`cancel`](Self::cancel) from any thread.
///
/// ```
/// use gendr_pix::{Cancel, Upscale};
///
/// let cancel = Cancel::new();
/// let options = Upscale::new().cancel(cancel.clone());
/// // Later, from a button, a signal, or another thread:
/// cancel.cancel();
/// assert!(cancel.is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Creates a token that has not been cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels the work. This cannot be undone.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether [`cancel`](Self::cancel) has been called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The callback that receives progress.
#[derive(Clone)]
pub(crate) struct Observer(Arc<dyn Fn(Progress) + Send + Sync>);

impl Observer {
    pub(crate) fn new(observer: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observer))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer(..)")
    }
}

/// The work was cancelled. Nothing else can fail within a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// The result of work that can be cancelled.
pub type Cancellable<T> = Result<T, Cancelled>;

/// A share of the work, with the observer that receives its progress and the token that can cancel
/// it.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    observer: Option<&'a Observer>,
    cancel: Option<&'a Cancel>,
    phase: Phase,
    from: f64,
    to: f64,
}

impl<'a> Watch<'a> {
    /// The whole work, without an observer and without a cancel token.
    const UNWATCHED: Watch<'static> = Watch {
        observer: None,
        cancel: None,
        phase: Phase::Restore,
        from: 0.0,
        to: 1.0,
    };

    /// Returns the share of `phase` in a whole enlargement.
    pub(crate) fn for_phase(
        phase: Phase,
        observer: Option<&'a Observer>,
        cancel: Option<&'a Cancel>,
    ) -> Self {
        let [from, to] = phase.span();
        Self {
            observer,
            cancel,
            phase,
            from,
            to,
        }
    }

    /// Returns the share of the phase within the `i`-th of `count` bands. Bands have equal shares.
    /// The last phase is not part of any band.
    pub(crate) fn in_band(self, i: usize, count: usize) -> Self {
        let [_, whole] = Phase::Correct.span();
        let place = |share: f64| (i as f64 * whole + share) / count as f64;
        Self {
            from: place(self.from),
            to: place(self.to),
            ..self
        }
    }

    /// Returns a watch for which this phase is the whole work.
    pub(crate) fn as_whole(self) -> Self {
        Self {
            from: 0.0,
            to: 1.0,
            ..self
        }
    }

    /// Reports that the share is done, then checks for cancellation.
    pub(crate) fn done(self) -> Cancellable<()> {
        self.report();
        self.check()
    }

    /// Reports that the share is done. Use it where nothing is left to cancel.
    pub(crate) fn report(self) {
        if let Some(Observer(observe)) = self.observer {
            observe(Progress {
                phase: self.phase,
                fraction: self.to,
            });
        }
    }

    /// Checks for cancellation without a report.
    pub(crate) fn check(self) -> Cancellable<()> {
        match self.cancel {
            Some(cancel) if cancel.is_cancelled() => Err(Cancelled),
            _ => Ok(()),
        }
    }

    /// Divides the share into `count` equal parts.
    pub(crate) fn parts(self, count: usize) -> Parts<'a> {
        Parts {
            whole: self,
            next: 0,
            count,
        }
    }
}

/// An iterator-like sequence of the equal parts of a share of the work.
pub(crate) struct Parts<'a> {
    whole: Watch<'a>,
    next: usize,
    count: usize,
}

impl<'a> Parts<'a> {
    /// Returns the next part.
    pub(crate) fn part(&mut self) -> Watch<'a> {
        debug_assert!(self.next < self.count, "more than {} parts", self.count);
        let from = self.end();
        self.next += 1;
        let to = self.end();
        Watch {
            from,
            to,
            ..self.whole
        }
    }

    /// Reports that the next part is done, then checks for cancellation.
    pub(crate) fn done(&mut self) -> Cancellable<()> {
        self.part().done()
    }

    /// Returns the fraction at which the latest part ends. It is exact for the last part. It never
    /// decreases, because each operation rounds monotonically.
    fn end(&self) -> f64 {
        let Watch { from, to, .. } = self.whole;
        let left = self.count.saturating_sub(self.next) as f64 / self.count as f64;
        to - (to - from) * left
    }
}

/// Runs work without an observer and without a cancel token.
pub(crate) fn unwatched<T>(run: impl FnOnce(Watch<'static>) -> Cancellable<T>) -> T {
    run(Watch::UNWATCHED).expect("work without a cancel token is not cancelled")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Mutex;

    /// Returns the fractions that `work` reports.
    fn reported(work: impl FnOnce(Watch)) -> Vec<f64> {
        let fractions = Arc::new(Mutex::new(Vec::new()));
        let sink = fractions.clone();
        let observer = Observer::new(move |p| sink.lock().unwrap().push(p.fraction));
        work(Watch::for_phase(Phase::Finish, Some(&observer), None));
        fractions.lock().unwrap().clone()
    }

    proptest! {
        #[test]
        fn fractions_rise_to_the_end(counts in prop::collection::vec(1..40_usize, 1..20)) {
            let fractions = reported(|watch| {
                let mut outer = watch.parts(counts.len());
                for &count in &counts {
                    let mut inner = outer.part().parts(count);
                    (0..count).for_each(|_| inner.done().unwrap());
                }
            });
            prop_assert_eq!(fractions.len(), counts.iter().sum::<usize>());
            prop_assert!(fractions.is_sorted(), "{fractions:?}");
            prop_assert!(fractions[0] > Phase::Finish.span()[0]);
            prop_assert_eq!(fractions.last(), Some(&1.0));
        }
    }

    #[test]
    fn phases_follow_each_other() {
        let phases = [Phase::Resize, Phase::Restore, Phase::Correct, Phase::Finish];
        assert!(phases.is_sorted());
        let spans = phases.map(Phase::span);
        assert!(spans.windows(2).all(|pair| pair[0][1] == pair[1][0]));
        assert_eq!((spans[0][0], spans[3][1]), (0.0, 1.0));
    }

    #[test]
    fn a_clone_cancels_too() {
        let cancel = Cancel::new();
        let watch = Watch::for_phase(Phase::Resize, None, Some(&cancel));
        assert_eq!(watch.check(), Ok(()));
        cancel.clone().cancel();
        assert_eq!(watch.check(), Err(Cancelled));
        assert_eq!(watch.done(), Err(Cancelled));
    }
}
