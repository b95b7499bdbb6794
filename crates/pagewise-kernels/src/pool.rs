//! A small pool of threads for short parallel loops.
//!
//! The caller works too. Each thread has a part of the tasks, neighbours, and takes one after the other
//! of them by an atomic cursor, then those that are left in the parts of others: so it walks through
//! memory in order, and a worker that wakes late simply finds the work done. The caller waits only for
//! workers that have begun. Idle workers spin briefly and then sleep.

use crate::Isa;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an idle worker watches for the next job before it sleeps.
const SPIN: Duration = Duration::from_micros(30);

/// Set in the state word while workers may join the job.
const OPEN: u64 = 1 << 16;
/// Mask of the number of workers in the job.
const WORKERS: u64 = OPEN - 1;
/// One step of the job number, which fills the upper bits of the state word.
const NEXT_JOB: u64 = 1 << 17;

type Task = dyn Fn(usize) + Sync;

#[derive(Clone, Copy)]
struct Job {
    task: *const Task,
    n_tasks: usize,
}

/// How many tasks of a thread's part have been taken, in a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Cursor(AtomicUsize);

struct Shared {
    /// Number of the job, whether it is open, how many workers are in it.
    state: AtomicU64,
    job: UnsafeCell<Option<Job>>,
    /// One for each thread, the caller's first.
    cursors: Box<[Cursor]>,
    sleepers: AtomicUsize,
    stop: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written only by the holder of `ThreadPool::running` while the state word says
// that no worker is in a job and none may join; it is read only by workers that have joined.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer in `job` is followed only while `run` keeps its target alive.
#[allow(unsafe_code)]
unsafe impl Send for Shared {}

/// Persistent threads that run the tasks of one parallel loop at a time, and the instructions
/// that kernels use on them.
pub struct ThreadPool {
    isa: Isa,
    shared: Arc<Shared>,
    running: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

thread_local! {
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ThreadPool {
    /// Starts a pool for the best kernels of this machine, as [`with_isa`](Self::with_isa) does.
    pub fn new(threads: usize) -> Self {
        Self::with_isa(threads, Isa::detect())
    }

    /// Starts a pool in which `threads` threads work, the caller of [`run`](Self::run) among them,
    /// and matrices and attention use the kernels of `isa`.
    ///
    /// Zero counts as one. Should the system refuse to start a thread, the pool has fewer.
    pub fn with_isa(threads: usize, isa: Isa) -> Self {
        let threads = threads.clamp(1, WORKERS as usize);
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            cursors: (0..threads).map(|_| Cursor::default()).collect(),
            sleepers: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
            panic: Mutex::new(None),
        });
        let workers = (1..threads)
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("kernels-{index}"))
                    .spawn(move || work(&shared, index))
                    .ok()
            })
            .collect();
        Self { isa, shared, running: Mutex::new(()), workers }
    }

    /// Returns how many threads work, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Returns the instructions that kernels use on this pool.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Runs `task(0)`, …, `task(n_tasks - 1)`, in any order and on any thread, and waits for all.
    ///
    /// Called from inside a task, it runs the tasks in line.
    ///
    /// # Panics
    ///
    /// With the first panic of a task, after the tasks under way have ended; tasks not yet begun
    /// are left out.
    pub fn run(&self, n_tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() || n_tasks <= 1 || IN_TASK.get() {
            (0..n_tasks).for_each(task);
            return;
        }
        let running = lock(&self.running);
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. Workers follow the pointer only between joining and
        // leaving the job, and below this function closes the job and waits for them to leave.
        #[allow(unsafe_code)]
        let job = Job {
            task: unsafe {
                std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const Task>(task)
            },
            n_tasks,
        };
        // SAFETY: the last job is closed and nobody is in it, so nobody reads the cell.
        #[allow(unsafe_code)]
        unsafe {
            *shared.job.get() = Some(job);
        }
        for cursor in &shared.cursors {
            cursor.0.store(0, Ordering::Relaxed);
        }
        shared.state.fetch_add(NEXT_JOB + OPEN, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&shared.lock));
            shared.wake.notify_all();
        }

        take_part(shared, job, 0);

        shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut rounds = 0u32;
        while shared.state.load(Ordering::Acquire) & WORKERS != 0 {
            rounds += 1;
            // A worker that has lost its core needs this one more than the caller does.
            if rounds < 2_000 { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        let panic = lock(&shared.panic).take();
        drop(running);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.lock));
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker cannot panic: every task runs under `catch_unwind`.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadPool").field("threads", &self.threads()).finish()
    }
}

/// Runs tasks, beginning with those of thread number `me`, until none is left.
fn take_part(shared: &Shared, job: Job, me: usize) {
    let n_parts = shared.cursors.len();
    let part_start = |part: usize| part * job.n_tasks / n_parts;
    IN_TASK.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller of `run` keeps the task alive until everybody has left the job.
        #[allow(unsafe_code)]
        let task = unsafe { &*job.task };
        for part in (me..n_parts).chain(0..me) {
            let (start, end) = (part_start(part), part_start(part + 1));
            loop {
                let index = start + shared.cursors[part].0.fetch_add(1, Ordering::Relaxed);
                if index >= end {
                    break;
                }
                task(index);
            }
        }
    }));
    IN_TASK.set(false);
    if let Err(panic) = outcome {
        for cursor in &shared.cursors {
            cursor.0.store(job.n_tasks, Ordering::Relaxed);
        }
        lock(&shared.panic).get_or_insert(panic);
    }
}

fn work(shared: &Shared, me: usize) {
    let mut done = 0;
    while let Some(state) = wait_for_job(shared, done) {
        done = state & !(OPEN | WORKERS);
        if !join(shared, done) {
            continue;
        }
        // SAFETY: this worker is in the job, so the cell is not written until it leaves.
        #[allow(unsafe_code)]
        if let Some(job) = unsafe { *shared.job.get() } {
            take_part(shared, job, me);
        }
        shared.state.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Enters the job with this number, unless it has been closed.
fn join(shared: &Shared, job: u64) -> bool {
    shared
        .state
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            (state & !WORKERS == job | OPEN).then_some(state + 1)
        })
        .is_ok()
}

/// Returns the state word once it shows an open job other than `done`, or nothing at the end.
fn wait_for_job(shared: &Shared, done: u64) -> Option<u64> {
    let open_job = || {
        let state = shared.state.load(Ordering::SeqCst);
        (state & OPEN != 0 && state & !(OPEN | WORKERS) != done).then_some(state)
    };
    let mut spin_until = None;
    loop {
        if shared.stop.load(Ordering::SeqCst) {
            return None;
        }
        for _ in 0..100 {
            if let Some(state) = open_job() {
                return Some(state);
            }
            std::hint::spin_loop();
        }
        let now = Instant::now();
        if now < *spin_until.get_or_insert(now + SPIN) {
            continue;
        }
        let guard = lock(&shared.lock);
        // Announce the sleep before the last look: the caller publishes before it counts sleepers.
        shared.sleepers.fetch_add(1, Ordering::SeqCst);
        let state = open_job();
        if state.is_none() && !shared.stop.load(Ordering::SeqCst) {
            drop(shared.wake.wait(guard).unwrap_or_else(PoisonError::into_inner));
        }
        shared.sleepers.fetch_sub(1, Ordering::SeqCst);
        if state.is_some() {
            return state;
        }
        spin_until = None;
    }
}
