//! The connection: one pure state machine.
//!
//! Octets, commands and the time go in; events, octets and the next deadline come out. Nothing here reads a clock,
//! waits, locks or calls back. There is no draining rule: the methods may be called in any order and any number of
//! times.

mod channel;
mod clock;
mod content;
mod dispatch;
mod event;
mod outbox;
mod outcome;
mod output;
mod pending;
mod phase;
mod slots;
mod timers;

use alloc::string::String;
use bytes::BytesMut;

pub use self::{
    channel::{Channel, Receipt, Window},
    event::Event,
    outbox::Outbox,
    outcome::{Outcome, Outcomes, Settled},
    pending::{Answer, CallId, MAX_PENDING_CALLS, Pending, Reply},
};
use self::{
    channel::{Limits, Shared, State},
    event::Events,
    output::Output,
    phase::{Phase, not_a_frame},
    slots::Slots,
    timers::{Timer, Timers},
};
use crate::{
    channel_id::ChannelId,
    config::{Config, Tuning},
    error::{Cause, ChannelError, ConnectionError, Error},
    frame::{Decoder, Frame, FrameKind, PROTOCOL_HEADER},
    method::{ReplyCode, channel as channel_method, connection},
    time::Instant,
    wire::{Misuse, Table},
};

/// The client's side of one AMQP 0-9-1 connection, without a socket.
///
/// The crate's documentation shows how a driver uses it.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    phase: Phase,
    tuning: Tuning,
    limits: Limits,
    server_properties: Table,
    decoder: Decoder,
    slots: Slots<State>,
    output: Output,
    events: Events,
    timers: Timers,
    /// Why the connection has ended.
    fault: Option<ConnectionError>,
    blocked: bool,
    /// When something was received last.
    heard_at: Instant,
    /// Octets of messages that have come in part, on all channels.
    assembling: usize,
    /// How much had left at the last look.
    written: u64,
    /// How much had left when output was last seen waiting.
    stalled_at: Option<u64>,
    /// The driver has stopped reading, so silence proves nothing.
    reading_paused: bool,
}

/// Constructors and what happened.
impl Connection {
    /// A connection that starts its handshake: the protocol header is in the outbox.
    pub fn new(config: Config, now: Instant) -> Self {
        let tuning = Tuning::initial();
        let mut output = Output::new(tuning.max_body_payload());
        output.write_raw(PROTOCOL_HEADER);
        let mut timers = Timers::new(now);
        timers.set(Timer::Handshake, config.handshake_timeout);
        Self {
            limits: limits(&config, &tuning),
            decoder: Decoder::new(config.initial_frame_limits()),
            config,
            phase: Phase::Greeting,
            tuning,
            server_properties: Table::new(),
            slots: Slots::new(),
            output,
            events: Events::default(),
            timers,
            fault: None,
            blocked: false,
            heard_at: now,
            assembling: 0,
            written: 0,
            stalled_at: None,
            reading_paused: false,
        }
    }

    /// Takes all whole frames out of what was read, and leaves the rest there.
    ///
    /// Call it after every read, also while a frame is coming in pieces: every octet is a sign of life.
    pub fn receive(&mut self, input: &mut BytesMut, now: Instant) {
        self.tell_time(now);
        if !input.is_empty() {
            self.heard_at = self.timers.now();
        }
        // Whoever does not start with a method frame is not speaking AMQP 0-9-1, and may never send a whole frame.
        if self.phase == Phase::Greeting && input.first().is_some_and(|first| *first != FrameKind::Method as u8) {
            match not_a_frame(input) {
                Some(error) => self.end(error),
                None => return,
            }
        }
        while self.fault.is_none() {
            match self.decoder.whole_frames(input) {
                Ok(0) => return,
                Ok(size) => self.receive_frames(&input.split_to(size).freeze()),
                Err(violation) => self.violated(violation),
            }
        }
        input.clear();
    }

    /// Takes one frame, for a driver that decodes for itself.
    pub fn handle(&mut self, frame: Frame, now: Instant) {
        self.tell_time(now);
        self.heard_at = self.timers.now();
        if self.fault.is_none() {
            self.dispatch(frame);
        }
    }

    /// The link has ended. Pass everything that was read to [`receive`](Self::receive) first: the reason is often in
    /// there.
    pub fn disconnected(&mut self, cause: Cause, now: Instant) {
        self.tell_time(now);
        if self.fault.is_none() {
            let error = if self.phase == Phase::Closing {
                // RabbitMQ ends a connection that is closing anyway with a reset as often as not.
                ConnectionError::Closed
            } else {
                self.phase.disconnected(cause)
            };
            self.end(error);
        }
        self.output = Output::new(self.tuning.max_body_payload());
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) gave. Calling it at any other time is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tell_time(now);
        while let Some((call, channel)) = self.timers.expired_call() {
            if let Ok(mut channel) = self.channel(channel) {
                channel.time_out(call);
            }
            self.free_if_done(channel);
        }
        while let Some((timer, at)) = self.timers.expired() {
            self.timer_expired(timer, now.saturating_duration_since(at));
        }
    }
}

/// What to do now.
impl Connection {
    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next; may lie in the past.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// What to write, as a [`bytes::Buf`]: write from it and advance it.
    pub fn outbox(&mut self) -> &mut Outbox {
        self.output.outbox()
    }

    /// Takes out what to write, for a driver that writes without holding a lock. Up to about 256 KiB at a time; what
    /// is queued later may still overtake the rest.
    pub fn take_outbox(&mut self) -> Outbox {
        self.output.take()
    }

    /// Tells that so many octets of a taken outbox have been written, while the rest still waits for the transport:
    /// output that moves, however slowly, is no [`WriteStalled`](ConnectionError::WriteStalled).
    pub fn wrote(&mut self, octets: usize) {
        self.output.wrote(octets);
    }

    /// Gives an outbox back whose octets have been written, so that its buffer is used again.
    pub fn recycle(&mut self, written: Outbox) {
        self.output.recycle(written);
    }

    /// Whether there is anything to write.
    pub fn wants_write(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether to read: false while the events that nobody has taken keep more than
    /// [`Config::event_limit`](crate::Config::event_limit) octets, and after the end.
    pub fn wants_read(&self) -> bool {
        self.fault.is_none() && self.events.octets() < self.config.event_limit
    }

    /// Tells that the driver has stopped reading, or goes on: while it does not read, silence does not end the
    /// connection.
    pub fn pause_reading(&mut self, paused: bool, now: Instant) {
        self.tell_time(now);
        self.reading_paused = paused;
        self.heard_at = self.timers.now();
    }
}

/// Commands.
impl Connection {
    /// Opens a channel. It can be used at once; what is sent on it waits behind its opening.
    ///
    /// # Errors
    ///
    /// The fault of the connection; [`Misuse::NotOpenYet`] during the handshake; [`Misuse::NoFreeChannel`].
    pub fn open_channel(&mut self) -> Result<(ChannelId, Pending<channel_method::OpenOk>), Error> {
        self.ready()?;
        let limit = self.tuning.channel_max;
        let id = self.slots.allocate(limit, State::new).ok_or(Misuse::NoFreeChannel { limit })?;
        let call = self.channel(id)?.start_open()?;
        Ok((id, Pending::new(call, id)))
    }

    /// A channel, to do something on it.
    ///
    /// # Errors
    ///
    /// The fault of the connection, or [`ChannelError::Closed`], for a channel that was [released](Self::release).
    #[inline]
    pub fn channel(&mut self, id: ChannelId) -> Result<Channel<'_>, Error> {
        let Self { slots, output, events, timers, limits, assembling, blocked, fault, .. } = self;
        match slots.get_mut(id) {
            Some(state) => {
                let shared = Shared { output, events, timers, limits, assembling, blocked: *blocked };
                Ok(Channel { state, shared })
            }
            None => Err(no_channel(fault.as_ref())),
        }
    }

    /// Lets go of a channel: the counterpart of [`open_channel`](Self::open_channel), without which its number is never
    /// used again. Closes it if it is open. Gives its fault, if no operation on it has reported that.
    pub fn release(&mut self, id: ChannelId) -> Option<Error> {
        let unreported = self.channel(id).ok()?.release();
        self.free_if_done(id);
        unreported
    }

    /// Says that nobody waits for an answer any more. If it comes after all it is dropped: a consumer is cancelled, a
    /// fetched message goes back to its queue.
    pub fn abandon<R>(&mut self, pending: Pending<R>) {
        if let Ok(mut channel) = self.channel(pending.channel()) {
            channel.abandon(pending.call());
        }
    }

    /// Closes the connection, behind everything that was queued. All who wait are answered now, with
    /// [`ConnectionError::Closed`]; [`Event::Closed`] follows when the broker has answered.
    pub fn close(&mut self, code: ReplyCode, text: &str) {
        if self.fault.is_some() || self.phase == Phase::Closing {
            return;
        }
        self.fail_channels(&ConnectionError::Closed);
        if self.phase != Phase::Open {
            return self.end(ConnectionError::Closed);
        }
        self.phase = Phase::Closing;
        let close = connection::Close::new(code, shortened(text)).into();
        if let Ok(frame) = self.frame(&close) {
            self.output.finish(frame.freeze());
        }
        self.timers.set(Timer::Close, self.config.close_timeout);
    }
}

/// Getters.
impl Connection {
    /// Whether the handshake is done and nothing has ended the connection since.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the connection has ended. Write what is left in the outbox, then drop the link.
    pub fn is_closed(&self) -> bool {
        self.fault.is_some()
    }

    /// Why the connection has ended.
    pub fn fault(&self) -> Option<&ConnectionError> {
        self.fault.as_ref()
    }

    /// What was agreed with the broker; the protocol's minimum during the handshake.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// What the broker says about itself: product, version, capabilities.
    pub fn server_properties(&self) -> &Table {
        &self.server_properties
    }

    /// Whether the broker has blocked the connection, and so reads nothing from it.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// How many channel numbers are taken.
    pub fn open_channels(&self) -> usize {
        self.slots.len()
    }

    /// How many octets are queued for the broker.
    pub fn queued_octets(&self) -> usize {
        self.output.octets()
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// Apart, so that finding a channel that is there stays small enough to be inlined.
#[cold]
fn no_channel(fault: Option<&ConnectionError>) -> Error {
    fault.map_or(ChannelError::Closed.into(), |fault| Error::Connection(fault.clone()))
}

fn limits(config: &Config, tuning: &Tuning) -> Limits {
    Limits {
        frame_max: usize::try_from(tuning.frame_max).unwrap_or(usize::MAX),
        message_size: config.message_size_limit,
        assembly: config.assembly_limit,
        outbox: config.outbox_limit,
        oversized: config.oversized,
    }
}

/// A reply text of at most 255 octets, cut between characters.
fn shortened(text: &str) -> String {
    let end = (0..=text.len().min(crate::wire::MAX_SHORT_STRING)).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().into()
}
