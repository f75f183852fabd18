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
    collections::{HashMap, VecDeque},
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use amqp_core::{
    Answer, CallId, Cause, ChannelError, ChannelId, ConnectionError, Error, Event, Outbox, Pending, Returned,
    connection::{Outcomes, Reply},
    wire::{ShortStr, ShortString},
};
use bytes::Buf;

use crate::{
    consumer::{End, Mailbox},
    notice::{Notice, Notices},
};

/// After a failed write the reader has this long to find out why: the broker's reason is often there to be read.
const LAST_WORDS: Duration = Duration::from_secs(1);

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

pub(crate) struct State {
    pub(crate) core: amqp_core::Connection,
    calls: HashMap<CallId, Arc<Waiter>>,
    channels: HashMap<ChannelId, ChannelEntry>,
    pub(crate) notices: Notices,
    /// Somebody is writing.
    writing: bool,
    /// What is left of an outbox that the transport did not take in time.
    unwritten: Option<Outbox>,
    /// The writer thread sleeps, and has to be woken for output.
    writer_sleeps: bool,
    /// When it looks at the clock next, and has to be woken for what is due before; none if it never does.
    writer_wakes_at: Option<amqp_core::Instant>,
    /// Output has left since the last dispatch.
    written: bool,
    progress_waiters: usize,
    /// The reader thread sleeps, until somebody has emptied a mailbox or made a call.
    reader_sleeps: bool,
    /// The octets in all mailboxes.
    backlog: usize,
    /// A write has failed, for this reason; the reader is given until then to find a better one.
    write_failed: Option<(Cause, Instant)>,
}

/// What belongs to an open channel handle.
#[derive(Default)]
struct ChannelEntry {
    consumers: Vec<(ShortString, Arc<Mailbox>)>,
    returned: VecDeque<Returned>,
    outcomes: Outcomes,
}

/// Someone who waits for an answer.
#[derive(Default)]
struct Waiter {
    answer: Mutex<Option<Answer>>,
    answered: Condvar,
}

/// Who is to be woken once the lock is gone.
#[derive(Default)]
pub(crate) struct Wakeups {
    answers: Vec<(Arc<Waiter>, Answer)>,
    mailboxes: Vec<Arc<Mailbox>>,
    progress: bool,
    writer: bool,
    reader: bool,
}

impl Link {
    pub(crate) fn new(
        core: amqp_core::Connection,
        writer: Box<dyn Write + Send>,
        hang_up: Box<dyn Fn() + Send + Sync>,
        origin: Instant,
    ) -> Self {
        let state = State {
            core,
            calls: HashMap::new(),
            channels: HashMap::new(),
            notices: Notices::default(),
            writing: false,
            unwritten: None,
            writer_sleeps: false,
            writer_wakes_at: None,
            written: false,
            progress_waiters: 0,
            reader_sleeps: false,
            backlog: 0,
            write_failed: None,
        };
        Self {
            state: Mutex::new(state),
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
        let result = self.write_all(&mut outbox);
        let mut state = self.lock();
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
        while outbox.has_remaining() {
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
        while state.backlog > limit / 2 && !state.must_read() {
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

impl State {
    fn may_write(&self) -> bool {
        !self.writing && self.write_failed.is_none() && (self.unwritten.is_some() || self.core.wants_write())
    }

    /// Whether something is due, or is going to be, before the writer thread looks at the clock.
    fn writer_oversleeps(&self) -> bool {
        let sooner = |at| self.writer_wakes_at.is_none_or(|wakes_at| at < wakes_at);
        self.write_failed.is_some() || self.core.poll_timeout().is_some_and(sooner)
    }

    /// Whether somebody waits for what is to be read behind deliveries: an answer, a confirm, room to publish (a broker
    /// that cannot write does not read either), or the end of a connection that is closing.
    fn must_read(&self) -> bool {
        !self.calls.is_empty() || self.progress_waiters > 0 || !self.core.is_open()
    }

    pub(crate) fn add_channel(&mut self, id: ChannelId) {
        self.channels.insert(id, ChannelEntry::default());
    }

    /// Forgets a channel whose handles are gone. What nobody has asked for becomes a notice.
    pub(crate) fn remove_channel(&mut self, id: ChannelId) {
        let unreported = self.core.release(id);
        let returned = self.channels.remove(&id).map(|entry| entry.returned).unwrap_or_default();
        self.notices.extend(returned.into_iter().map(Notice::Returned));
        self.notices.extend(unreported.map(|error| Notice::Unreported { channel: id.number(), error }));
    }

    pub(crate) fn add_consumer(&mut self, channel: ChannelId, tag: ShortString, mailbox: Arc<Mailbox>) {
        if let Some(entry) = self.channels.get_mut(&channel) {
            entry.consumers.retain(|(other, _)| *other != tag);
            entry.consumers.push((tag, mailbox));
        }
    }

    pub(crate) fn remove_consumer(&mut self, channel: ChannelId, tag: &ShortString) -> Option<Arc<Mailbox>> {
        let consumers = &mut self.channels.get_mut(&channel)?.consumers;
        let at = consumers.iter().position(|(other, _)| other == tag)?;
        Some(consumers.swap_remove(at).1)
    }

    pub(crate) fn outcomes(&mut self, channel: ChannelId) -> Option<&mut Outcomes> {
        self.channels.get_mut(&channel).map(|entry| &mut entry.outcomes)
    }

    pub(crate) fn take_returned(&mut self, channel: ChannelId) -> VecDeque<Returned> {
        self.channels.get_mut(&channel).map(|entry| std::mem::take(&mut entry.returned)).unwrap_or_default()
    }

    /// Hands out everything that has happened; who is to be woken for it comes back.
    pub(crate) fn dispatch(&mut self) -> Wakeups {
        let mut wakeups = Wakeups::default();
        while let Some(event) = self.core.poll_event() {
            self.hand_out(event, &mut wakeups);
        }
        wakeups.progress |= std::mem::take(&mut self.written);
        wakeups.progress &= self.progress_waiters > 0;
        wakeups.writer = self.writer_sleeps && (self.may_write() || self.core.is_closed() || self.writer_oversleeps());
        wakeups.reader = self.reader_sleeps && self.must_read();
        wakeups
    }

    fn hand_out(&mut self, event: Event, wakeups: &mut Wakeups) {
        match event {
            Event::Answer(answer) => {
                let waiter = self.calls.remove(&answer.call());
                wakeups.answers.extend(waiter.map(|waiter| (waiter, answer)));
            }
            Event::Delivery(delivery) => {
                if let Some(mailbox) = self.mailbox(delivery.channel(), delivery.consumer_tag()) {
                    self.backlog = self.backlog.saturating_add(cost(&delivery));
                    mailbox.push(delivery);
                    wakeups.mailbox(mailbox);
                }
            }
            Event::Returned(returned) => match self.channels.get_mut(&returned.channel()) {
                Some(entry) => entry.returned.push_back(returned),
                None => self.notices.push(Notice::Returned(returned)),
            },
            Event::Settled(settled) => {
                if let Some(entry) = self.channels.get_mut(&settled.channel) {
                    entry.outcomes.record(&settled);
                }
                wakeups.progress = true;
            }
            Event::ConsumerCancelled { channel, consumer_tag } => {
                if let Some(mailbox) = self.mailbox(channel, consumer_tag.as_short_str()) {
                    mailbox.end(End::failed(ChannelError::ConsumerCancelled { consumer_tag, by_broker: true }.into()));
                    wakeups.mailbox(mailbox);
                }
            }
            Event::ChannelClosed { channel, error } => match self.channels.get_mut(&channel) {
                Some(entry) => entry.end_consumers(&error.into(), wakeups),
                None => self.notices.push(Notice::Unreported { channel: channel.number(), error: error.into() }),
            },
            Event::Closed(error) => {
                for entry in self.channels.values_mut() {
                    entry.end_consumers(&Error::Connection(error.clone()), wakeups);
                }
                self.notices.push(Notice::Closed(error));
                wakeups.progress = true;
            }
            Event::Opened => wakeups.progress = true,
            Event::Blocked { reason } => self.notices.push(Notice::Blocked { reason }),
            Event::Unblocked => self.notices.push(Notice::Unblocked),
            Event::Oversized { channel, size } => {
                self.notices.push(Notice::Oversized { channel: channel.number(), size });
            }
            Event::Flow { .. } => wakeups.progress = true,
            _ => {}
        }
    }

    fn mailbox(&self, channel: ChannelId, tag: ShortStr<'_>) -> Option<Arc<Mailbox>> {
        let consumers = &self.channels.get(&channel)?.consumers;
        consumers.iter().find(|(other, _)| other.as_short_str() == tag).map(|(_, mailbox)| Arc::clone(mailbox))
    }

    /// Ends the consumers of a channel that this program has closed.
    pub(crate) fn end_consumers(&mut self, channel: ChannelId, error: &Error) -> Wakeups {
        let mut wakeups = Wakeups::default();
        if let Some(entry) = self.channels.get_mut(&channel) {
            entry.end_consumers(error, &mut wakeups);
        }
        wakeups
    }
}

impl ChannelEntry {
    fn end_consumers(&mut self, error: &Error, wakeups: &mut Wakeups) {
        for (_, mailbox) in self.consumers.drain(..) {
            mailbox.end(End::failed(error.clone()));
            wakeups.mailbox(mailbox);
        }
    }
}

impl Wakeups {
    fn mailbox(&mut self, mailbox: Arc<Mailbox>) {
        if !self.mailboxes.iter().any(|known| Arc::ptr_eq(known, &mailbox)) {
            self.mailboxes.push(mailbox);
        }
    }

    fn merge(&mut self, other: Self) {
        self.answers.extend(other.answers);
        other.mailboxes.into_iter().for_each(|mailbox| self.mailbox(mailbox));
        self.progress |= other.progress;
        self.writer = other.writer;
        self.reader |= other.reader;
    }

    fn any(&self) -> bool {
        self.progress || self.reader || !self.answers.is_empty() || !self.mailboxes.is_empty()
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// What a delivery that waits in a mailbox keeps in memory, about.
pub(crate) fn cost(delivery: &amqp_core::Delivery) -> usize {
    delivery.body().len() + delivery.encoded_properties().len() + size_of::<amqp_core::Delivery>()
}

impl Waiter {
    fn give(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.answered.notify_one();
    }

    fn wait(&self, timeout: Duration) -> Option<Answer> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = self.answered.wait_timeout_while(answer, timeout, |answer| answer.is_none());
        answered.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}
