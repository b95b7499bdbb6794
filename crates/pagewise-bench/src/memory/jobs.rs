//! What lets cases be run at once: the jobs take them from one queue, and tell what happens to one desk.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::{iter, thread};

use super::case::Case;
use super::error::MemoryBenchError;
use super::record::Record;

/// What happens in a job.
pub(crate) enum News {
    /// A case begins.
    Begun { id: String },
    /// Memory is filled with so many texts.
    Preparing { n_texts: usize },
    /// The agent has a conversation that memory comes of: `n_done` of `n` are over.
    Telling { n_done: usize, n: usize },
    /// The case at this place is done.
    Ended { place: usize, record: Box<Record> },
}

/// Says what happens. It fails if that cannot be written down, and the job has to end.
pub(crate) type Tell<'a> = dyn FnMut(News) -> Result<(), MemoryBenchError> + 'a;

/// The cases that no job has taken yet, in order.
pub(crate) struct Queue<'a> {
    waiting: Mutex<Vec<Waiting<'a>>>,
}

struct Waiting<'a> {
    place: usize,
    case: &'a Case,
    /// The job that has its memory.
    job: Option<usize>,
}

/// A case for a job to run.
pub(crate) struct Taken<'a> {
    /// Where it is among all.
    pub(crate) place: usize,
    pub(crate) case: &'a Case,
    /// All that were still to be run, this one first.
    pub(crate) left: Vec<&'a Case>,
}

impl<'a> Queue<'a> {
    /// Lines up cases with their places.
    pub(crate) fn new(cases: impl Iterator<Item = (usize, &'a Case)>) -> Self {
        let waiting = cases.map(|(place, case)| Waiting { place, case, job: None });
        Self { waiting: Mutex::new(waiting.collect()) }
    }

    /// Gives a job its next case: the first of which no other job has the memory. From then on the job has
    /// that memory, so that it is prepared once.
    pub(crate) fn take(&self, job: usize) -> Option<Taken<'a>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let next = waiting.iter().position(|one| one.job.is_none_or(|other| other == job))?;
        let Waiting { place, case, .. } = waiting.remove(next);
        for other in waiting.iter_mut() {
            if Arc::ptr_eq(&other.case.memory, &case.memory) {
                other.job = Some(job);
            }
        }
        let left = iter::once(case).chain(waiting.iter().map(|one| one.case)).collect();
        Some(Taken { place, case, left })
    }
}

/// Does `work` for each job, with its number and what it tells things with, and has `desk` take in what they
/// tell, in this thread.
///
/// When one fails the others are stopped, by `cancelled`, and its error is returned.
pub(crate) fn at_once<J: Send>(
    jobs: &mut [J],
    cancelled: &AtomicBool,
    work: impl Fn(&mut J, usize, &mut Tell<'_>) -> Result<(), MemoryBenchError> + Sync,
    desk: impl FnMut(News) -> Result<(), MemoryBenchError>,
) -> Result<(), MemoryBenchError> {
    let stop = || cancelled.store(true, Ordering::Relaxed);
    let work = &work;
    thread::scope(|scope| {
        let (sender, receiver) = channel();
        let mut running = Vec::new();
        for (number, job) in jobs.iter_mut().enumerate() {
            let sender = sender.clone();
            running.push(scope.spawn(move || {
                // The receiver goes before its time only if the desk failed.
                let mut tell =
                    |news| sender.send(news).map_err(|_gone| MemoryBenchError::Cancelled);
                let done = catch_unwind(AssertUnwindSafe(|| work(job, number, &mut tell)));
                if !matches!(done, Ok(Ok(()))) {
                    stop();
                }
                done
            }));
        }
        drop(sender);
        let written = receiver.into_iter().try_for_each(desk);
        if written.is_err() {
            stop();
        }
        let mut failed: Vec<MemoryBenchError> = written.err().into_iter().collect();
        for job in running {
            match job.join().flatten() {
                Ok(done) => failed.extend(done.err()),
                Err(panic) => resume_unwind(panic),
            }
        }
        // Those that were stopped say no more than that.
        let first = failed.into_iter().min_by_key(|e| matches!(e, MemoryBenchError::Cancelled));
        first.map_or(Ok(()), Err)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Task;

    /// What a job does until it is stopped.
    fn until(cancelled: &AtomicBool) -> Result<(), MemoryBenchError> {
        while !cancelled.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        Err(MemoryBenchError::Cancelled)
    }

    fn full_disk() -> MemoryBenchError {
        MemoryBenchError::file("records.jsonl", &std::io::ErrorKind::StorageFull.into())
    }

    #[test]
    fn cases_of_one_memory_are_one_jobs_in_order() {
        let cases: Vec<Case> = Task::NestedKv.generate(1).take(3).collect();
        let in_turn = [0, 1, 0, 2, 1, 2];
        let queue = Queue::new(in_turn.iter().map(|memory| &cases[*memory]).enumerate());
        let take = |job| queue.take(job).map(|taken| (taken.place, taken.left.len()));
        assert_eq!(take(0), Some((0, 6)));
        assert_eq!(take(1), Some((1, 5)));
        assert_eq!(take(1), Some((3, 4)), "the case before it is the other job's");
        assert_eq!((take(0), take(0)), (Some((2, 3)), None));
        assert_eq!((take(1), take(1), take(1)), (Some((4, 2)), Some((5, 1)), None));
    }

    #[test]
    fn one_job_has_all_cases_in_order() {
        let cases: Vec<Case> = Task::NestedKv.generate(1).take(2).collect();
        let queue = Queue::new([0, 1, 0, 1].map(|memory| &cases[memory]).into_iter().enumerate());
        let taken: Vec<usize> = iter::from_fn(|| queue.take(0)).map(|taken| taken.place).collect();
        assert_eq!(taken, [0, 1, 2, 3]);
    }

    #[test]
    fn an_error_stops_the_others_and_is_returned() {
        let cancelled = AtomicBool::new(false);
        let work = |_: &mut (), number, _: &mut Tell<'_>| match number {
            1 => Err(full_disk()),
            _ => until(&cancelled),
        };
        let error = at_once(&mut [(); 3], &cancelled, work, |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), full_disk().to_string());
    }

    #[test]
    fn what_cannot_be_written_down_stops_all() {
        let cancelled = AtomicBool::new(false);
        let work = |_: &mut (), _, tell: &mut Tell<'_>| {
            tell(News::Preparing { n_texts: 1 })?;
            until(&cancelled)
        };
        let error = at_once(&mut [(); 2], &cancelled, work, |_| Err(full_disk())).unwrap_err();
        assert_eq!(error.to_string(), full_disk().to_string());
    }

    #[test]
    fn a_panic_stops_the_others_and_goes_on() {
        let cancelled = AtomicBool::new(false);
        let work = |_: &mut (), number, _: &mut Tell<'_>| match number {
            0 => panic!("in a job"),
            _ => until(&cancelled),
        };
        let run = || at_once(&mut [(); 2], &cancelled, work, |_| Ok(()));
        let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"in a job"));
    }
}
