//! The link between handles, threads and the core.
//!
//! Locking rules:
//!
//! * `Link::state` guards the core and the tables of who waits for what. It is held while something is encoded,
//!   decoded or looked up, never across a system call, a wake-up or user code.
//! * Whoever sets `State::writing` owns the write half until he clears it: callers who are about to sleep anyway write
//!   what they queued themselves, everybody else leaves it to the writer thread.
//! * A mailbox has a lock of its own, taken inside `state` when deliveries are handed over, alone when they are
//!   taken out. `state` is never taken while a mailbox is held.
//! * Wake-ups are collected in [`Wakeups`] and happen when the lock is gone.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use amqp_core::{Cause, ConnectionError, Error, Outbox, Pending, connection::Reply};
use bytes::Buf;

use crate::{
    state::State,
    wakeups::{Waiter, Wakeups},
};

/// After a failed write the reader has this long to find out why: the broker's reason is often there to be read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How many octets of deliveries may pile up beyond the limit while somebody waits for what may be behind them.
const IN_A_HURRY: usize = 64 * 1024 * 1024;

/// How long one turn of writing may take while the transport takes something: then it is time to look at the clock, and
/// for a caller to go back to what he is waiting for.
const WRITE_TURN: Duration = Duration::from_millis(100);

/// What the handles and both threads share.
pub(crate) struct Link {
    state: Mutex<State>,
    /// Where the writer thread sleeps.
    output: Condvar,
    /// Where those sleep who wait for the connection to open, to end, or to take more output.
    progress: Condvar,
    /// Where the reader thread sleeps while the mailboxes are full.
    drained: Condvar,
    writer: Mutex<Box<dyn Write + Send>>,
    /// Ends the transport in both directions, so that a thread that is stuck in it comes back.
    hang_up: Box<dyn Fn() + Send + Sync>,
    origin: Instant,
}

impl Link {
    pub(crate) fn new(
        core: amqp_core::Connection,
        writer: Box<dyn Write + Send>,
        hang_up: Box<dyn Fn() + Send + Sync>,
        origin: Instant,
    ) -> Self {
        Self {
            state: Mutex::new(State::new(core)),
            output: Condvar::new(),
            progress: Condvar::new(),
            drained: Condvar::new(),
            writer: Mutex::new(writer),
            hang_up,
            origin,
        }
    }

    pub(crate) fn now(&self) -> amqp_core::Instant {
        self.origin.elapsed().into()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the core, hands out what follows from it, and has the writer thread woken if there is output.
    pub(crate) fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = action(&mut state);
        let wakeups = state.dispatch();
        drop(state);
        self.wake(wakeups);
        result
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call<R: Reply>(
        &self,
        request: impl FnOnce(&mut State) -> Result<Pending<R>, Error>,
    ) -> Result<R, Error> {
        let waiter = Arc::new(Waiter::default());
        let mut state = self.lock();
        let pending = request(&mut state)?;
        state.calls.insert(pending.call(), Arc::clone(&waiter));
        // The call's deadline starts now.
        state.core.handle_timeout(self.now());
        let timeout = state.core.config().call_timeout;
        let wakeups = self.flush(state);
        self.wake(wakeups);
        let mut answer = waiter.wait(timeout);
        while answer.is_none() {
            // The writer thread may be stuck in a write: look at the clock for it.
            self.with(|state| state.core.handle_timeout(self.now()));
            answer = waiter.wait(Duration::from_millis(10));
        }
        answer.map_or(Err(ConnectionError::Closed.into()), |answer| pending.claim(answer))
    }

    /// Writes what is queued, unless somebody is writing already, who then writes that too.
    pub(crate) fn flush<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Wakeups {
        let mut wakeups = state.dispatch();
        if state.may_write() {
            state = self.write_some(state);
            wakeups.merge(state.dispatch());
        }
        wakeups
    }

    /// Writes one outbox, without the lock. If the transport does not take it, the rest is left for the next: a caller
    /// must not be held up longer than his call may take.
    fn write_some<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let mut outbox = state.unwritten.take().unwrap_or_else(|| state.core.take_outbox());
        state.writing = true;
        drop(state);
        let before = outbox.len();
        let result = self.write_all(&mut outbox);
        let mut state = self.lock();
        state.core.wrote(before.saturating_sub(outbox.len()));
        state.writing = false;
        state.written = true;
        match result {
            Ok(()) => state.core.recycle(outbox),
            // The transport's write timeout: time to look at the clock, which may have ended the connection.
            Err(error) if is_timeout(&error) && !state.core.is_closed() => state.unwritten = Some(outbox),
            Err(error) => {
                state.write_failed.get_or_insert_with(|| (Cause::from(&error), Instant::now() + LAST_WORDS));
            }
        }
        state
    }

    fn write_all(&self, outbox: &mut Outbox) -> io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + WRITE_TURN;
        while outbox.has_remaining() {
            if Instant::now() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut slices = [io::IoSlice::new(&[]); 64];
            let filled = outbox.chunks_vectored(&mut slices);
            match writer.write_vectored(slices.get(..filled).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => outbox.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        writer.flush()
    }

    /// The writer thread: writes what nobody else writes, and looks at the clock.
    pub(crate) fn run_writer(&self) {
        let mut state = self.lock();
        loop {
            state.core.handle_timeout(self.now());
            if let Some((cause, _)) = state.write_failed.take_if(|(_, until)| *until <= Instant::now()) {
                state.core.disconnected(cause, self.now());
            }
            let wakeups = state.dispatch();
            if wakeups.any() {
                drop(state);
                self.wake(wakeups);
                state = self.lock();
            } else if state.may_write() {
                state = self.write_some(state);
            } else if state.core.is_closed() && !state.writing {
                break;
            } else {
                state = self.sleep(state);
            }
        }
        drop(state);
        self.hang_up();
    }

    /// Sleeps until there is output or something is due.
    fn sleep<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.writer_wakes_at = state.core.poll_timeout();
        let due = state.writer_wakes_at.map(|at| at.saturating_duration_since(self.now()));
        let failed = state.write_failed.as_ref().map(|(_, until)| until.saturating_duration_since(Instant::now()));
        state.writer_sleeps = true;
        let mut state = match due.into_iter().chain(failed).min() {
            Some(time) => {
                let woken = self.output.wait_timeout(state, time);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.output.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.writer_sleeps = false;
        state
    }

    pub(crate) fn wake(&self, wakeups: Wakeups) {
        if wakeups.writer {
            self.output.notify_one();
        }
        if wakeups.progress {
            self.progress.notify_all();
        }
        if wakeups.reader {
            self.drained.notify_one();
        }
        for mailbox in wakeups.mailboxes {
            mailbox.wake();
        }
        for (waiter, answer) in wakeups.answers {
            waiter.give(answer);
        }
    }

    /// The reader thread: waits while the mailboxes are full, because a consumer is slower than the broker.
    ///
    /// While somebody waits for something else it goes on all the same: that may be behind those messages.
    pub(crate) fn wait_until_drained(&self) {
        let mut state = self.lock();
        let limit = state.core.config().event_limit;
        if state.backlog < limit {
            return;
        }
        state.core.pause_reading(true, self.now());
        while state.backlog > limit / 2 && !(state.must_read() && state.backlog < limit.saturating_add(IN_A_HURRY)) {
            state.reader_sleeps = true;
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.reader_sleeps = false;
        }
        state.core.pause_reading(false, self.now());
    }

    /// Ends the transport: what is stuck in it comes back.
    pub(crate) fn hang_up(&self) {
        (self.hang_up)();
    }

    /// Deliveries of so many octets have left their mailbox.
    pub(crate) fn taken(&self, octets: usize) {
        let mut state = self.lock();
        state.backlog = state.backlog.saturating_sub(octets);
        let wake = state.reader_sleeps;
        drop(state);
        if wake {
            self.drained.notify_one();
        }
    }

    /// Waits for `done`, for as long as it takes to open, end, or write something; none if it does not come in time.
    pub(crate) fn wait_for<T>(&self, deadline: Instant, mut done: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        // From now on the reader must not sleep.
        self.with(|state| state.progress_waiters += 1);
        let mut state = self.lock();
        let result = loop {
            let result = done(&mut state);
            let left = deadline.saturating_duration_since(Instant::now());
            if result.is_some() || left.is_zero() {
                break result;
            }
            state = self.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.progress_waiters -= 1;
        result
    }
}

/// The moment when that much time has passed; a year from now if that is beyond the clock.
pub(crate) fn later(time: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + YEAR)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
