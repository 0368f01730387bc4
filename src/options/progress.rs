//! How far an enlargement is, and stopping it.
//!
//! A [`Watch`] stands for a share of the work and is handed down with it: each floor divides its own among its parts
//! (passes, tiles, layers) and knows nothing of the others.

use crate::error::Error;
#[cfg(doc)]
use crate::options::Upscale;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How far an enlargement is, as [`Upscale::on_progress`] is told.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// What has just been worked on.
    pub phase: Phase,
    /// How much of the whole is done, from 0 to 1: never less than told before, and 1 at the end. Each phase has a fixed
    /// share of it, and within it each pass, tile and layer an equal one, whatever time they take.
    pub fraction: f64,
}

/// What is done to a picture, in this order; in tiles to one row of tiles after the other, but for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// The picture is resized to the output's size.
    Resize,
    /// The model runs.
    Restore,
    /// Colours and fidelity are held to the input.
    Correct,
    /// The result becomes a picture of the input's kind.
    Finish,
}

impl Phase {
    /// Where the phase begins and ends in the whole. About the times of the bundled model, but for the share of the
    /// model, which a larger one or more passes would raise.
    fn span(self) -> [f64; 2] {
        match self {
            Self::Resize => [0.0, 0.05],
            Self::Restore => [0.05, 0.9],
            Self::Correct => [0.9, 0.97],
            Self::Finish => [0.97, 1.0],
        }
    }
}

/// Stops enlargements that were given it by [`Upscale::cancel`]. A clone is the same token: keep one, and call
/// [`cancel`](Self::cancel) from any thread.
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
    /// A token that stops nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops, for good: there is no way back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) has been called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Who is told of progress.
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

/// The work was cancelled: all that can go wrong within a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cancelled;

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

pub(crate) type Cancellable<T> = Result<T, Cancelled>;

/// A share of the work: who is told when it is done, and who may stop it.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    observer: Option<&'a Observer>,
    cancel: Option<&'a Cancel>,
    phase: Phase,
    from: f64,
    to: f64,
}

impl<'a> Watch<'a> {
    /// Nobody is told, and nobody stops it.
    const NOBODY: Watch<'static> = Watch {
        observer: None,
        cancel: None,
        phase: Phase::Restore,
        from: 0.0,
        to: 1.0,
    };

    /// The share of `phase` in a whole enlargement.
    pub(crate) fn of_phase(
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

    /// The share in the `i`-th of `count` equal parts that go through all phases but the last.
    pub(crate) fn in_band(self, i: usize, count: usize) -> Self {
        let [_, whole] = Phase::Correct.span();
        let place = |share: f64| (i as f64 * whole + share) / count as f64;
        Self {
            from: place(self.from),
            to: place(self.to),
            ..self
        }
    }

    /// The same phase where there is no other.
    pub(crate) fn alone(self) -> Self {
        Self {
            from: 0.0,
            to: 1.0,
            ..self
        }
    }

    /// Tells that the share is done.
    pub(crate) fn done(self) -> Cancellable<()> {
        self.tell();
        self.check()
    }

    /// [`done`](Self::done) where there is nothing left to stop.
    pub(crate) fn tell(self) {
        if let Some(Observer(tell)) = self.observer {
            tell(Progress {
                phase: self.phase,
                fraction: self.to,
            });
        }
    }

    /// Goes on unless cancelled: for places between which nothing is worth telling.
    pub(crate) fn check(self) -> Cancellable<()> {
        match self.cancel {
            Some(cancel) if cancel.is_cancelled() => Err(Cancelled),
            _ => Ok(()),
        }
    }

    /// The share divided into `count` equal ones.
    pub(crate) fn parts(self, count: usize) -> Parts<'a> {
        Parts {
            whole: self,
            next: 0,
            count,
        }
    }
}

/// Equal parts of a share of the work, in the order in which they are done.
pub(crate) struct Parts<'a> {
    whole: Watch<'a>,
    next: usize,
    count: usize,
}

impl<'a> Parts<'a> {
    /// The next part.
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

    /// The next part, which is done.
    pub(crate) fn done(&mut self) -> Cancellable<()> {
        self.part().done()
    }

    /// End of the last part given out. Exact after the last, and never less than the one before: each operation rounds
    /// what is larger to no less.
    fn end(&self) -> f64 {
        let Watch { from, to, .. } = self.whole;
        let left = self.count.saturating_sub(self.next) as f64 / self.count as f64;
        to - (to - from) * left
    }
}

/// What `run` gives when nobody watches.
pub(crate) fn unwatched<T>(run: impl FnOnce(Watch<'static>) -> Cancellable<T>) -> T {
    run(Watch::NOBODY).expect("nobody cancels what nobody watches")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Mutex;

    /// What `work` tells.
    fn told(work: impl FnOnce(Watch)) -> Vec<f64> {
        let fractions = Arc::new(Mutex::new(Vec::new()));
        let told = fractions.clone();
        let observer = Observer::new(move |p| told.lock().unwrap().push(p.fraction));
        work(Watch::of_phase(Phase::Finish, Some(&observer), None));
        fractions.lock().unwrap().clone()
    }

    proptest! {
        #[test]
        fn fractions_rise_to_the_end(counts in prop::collection::vec(1..40_usize, 1..20)) {
            let fractions = told(|watch| {
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
        let watch = Watch::of_phase(Phase::Resize, None, Some(&cancel));
        assert_eq!(watch.check(), Ok(()));
        cancel.clone().cancel();
        assert_eq!(watch.check(), Err(Cancelled));
        assert_eq!(watch.done(), Err(Cancelled));
    }
}
