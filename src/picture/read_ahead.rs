//! Decodes the next picture while the current one is processed.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{JoinHandle, spawn};

/// An iterator that runs another iterator on a background thread, one item ahead of the caller.
/// While one picture is enlarged, the next is decoded, and at most that one waits in memory.
///
/// The first call of `next` starts the thread. Dropping the iterator early does not block: the
/// thread ends after its current item.
///
/// ```no_run
/// # #[cfg(all(feature = "flex", feature = "pretrained"))]
/// # fn main() -> gendr_pix::Result<()> {
/// use gendr_pix::{GenDrPix, backend, picture::{Picture, ReadAhead}};
///
/// let model = GenDrPix::<backend::Cpu>::pretrained(&Default::default())?;
/// let names = ["a.jpg", "b.png"].into_iter();
/// for (name, picture) in ReadAhead::new(names.map(|name| (name, Picture::open(name)))) {
///     let large = picture?.map(|image| model.upscale(image))?;
///     large.save(format!("large/{name}"))?;
/// }
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "flex", feature = "pretrained")))]
/// # fn main() {}
/// ```
pub struct ReadAhead<I: Iterator>(State<I>);

enum State<I: Iterator> {
    Idle(I),
    Running {
        items: Receiver<I::Item>,
        thread: JoinHandle<()>,
    },
    Ended,
}

impl<I: Iterator> fmt::Debug for ReadAhead<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadAhead").finish_non_exhaustive()
    }
}

impl<I> ReadAhead<I>
where
    I: Iterator<Item: Send> + Send + 'static,
{
    /// Creates an iterator over `items`. Nothing runs before the first call of `next`.
    #[must_use]
    pub fn new(items: impl IntoIterator<IntoIter = I>) -> Self {
        Self(State::Idle(items.into_iter()))
    }
}

impl<I> Iterator for ReadAhead<I>
where
    I: Iterator<Item: Send> + Send + 'static,
{
    type Item = I::Item;

    /// # Panics
    ///
    /// Panics if the other iterator panics, or the system cannot start a thread.
    fn next(&mut self) -> Option<I::Item> {
        let (items, thread) = match std::mem::replace(&mut self.0, State::Ended) {
            State::Idle(source) => start(source),
            State::Running { items, thread } => (items, thread),
            State::Ended => return None,
        };
        match items.recv() {
            Ok(item) => {
                self.0 = State::Running { items, thread };
                Some(item)
            }
            // The thread has ended, either normally or by a panic.
            Err(_) => match thread.join() {
                Ok(()) => None,
                Err(panic) => resume_unwind(panic),
            },
        }
    }
}

fn start<I>(source: I) -> (Receiver<I::Item>, JoinHandle<()>)
where
    I: Iterator<Item: Send> + Send + 'static,
{
    // The channel has no buffer: the item that the thread holds is the one ahead.
    let (sender, items) = sync_channel(0);
    let thread = spawn(move || {
        for item in source {
            if sender.send(item).is_err() {
                return; // The receiver was dropped.
            }
        }
    });
    (items, thread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    #[test]
    fn items_come_in_order_and_end() {
        let mut items = ReadAhead::new(0..5);
        assert!(items.by_ref().eq(0..5));
        assert_eq!(items.next(), None);
        assert_eq!(ReadAhead::new(Vec::<u8>::new()).next(), None);
    }

    /// Returns an iterator and the number of items that it has produced.
    fn counted() -> (Arc<AtomicUsize>, impl Iterator<Item = usize> + Send) {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        (made, (0..100).map(move |_| count.fetch_add(1, SeqCst)))
    }

    fn wait_for(made: &AtomicUsize, count: usize) {
        let start = Instant::now();
        while made.load(SeqCst) < count {
            assert!(start.elapsed() < Duration::from_secs(20));
            sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn one_item_is_produced_ahead() {
        let (made, items) = counted();
        let mut items = ReadAhead::new(items);
        sleep(Duration::from_millis(20));
        assert_eq!(made.load(SeqCst), 0);
        assert_eq!(items.next(), Some(0));
        wait_for(&made, 2);
        sleep(Duration::from_millis(20));
        assert_eq!(made.load(SeqCst), 2);
        drop(items);
        // The thread drops the source when it ends.
        let start = Instant::now();
        while Arc::strong_count(&made) > 1 {
            assert!(start.elapsed() < Duration::from_secs(20));
            sleep(Duration::from_millis(1));
        }
        assert_eq!(made.load(SeqCst), 2);
    }

    #[test]
    fn a_panic_is_passed_on() {
        let mut items = ReadAhead::new([4, 0].map(|n: i32| n).into_iter().map(|n| 8 / n));
        assert_eq!(items.next(), Some(2));
        assert!(catch_unwind(AssertUnwindSafe(|| items.next())).is_err());
        assert_eq!(items.next(), None);
    }
}
