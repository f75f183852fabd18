//! The connection: one pure state machine.
//!
//! Octets, commands and the time go in; events, octets and the next deadline come out. Nothing here reads a clock,
//! waits, locks or calls back. There is no draining rule: the methods may be called in any order and any number of
//! times.

mod channel;
mod content;
mod event;
mod outbox;
mod output;
mod pending;
mod phase;
mod slots;
mod timers;

use alloc::string::String;
use core::time::Duration;

use bytes::BytesMut;

pub use self::{
    channel::{Channel, Receipt},
    event::{Confirm, Event},
    outbox::Outbox,
    pending::{Answer, CallId, MAX_PENDING_CALLS, Pending, Reply},
};
use self::{
    channel::{Limits, Shared, State, write_method},
    event::Events,
    output::Output,
    phase::{Phase, Step, not_a_frame},
    slots::Slots,
    timers::{Timer, Timers},
};
use crate::{
    channel_id::ChannelId,
    config::{Config, Offer, Tuning},
    error::{Cause, ChannelError, ConnectionError, Error, Violation},
    frame::{Decoder, Frame, FrameKind, PROTOCOL_HEADER},
    method::{AnyMethod, ReplyCode, channel as channel_method, connection},
    wire::{Misuse, Table, Writer},
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
    /// Whether anything was received since the last look at the clock.
    heard: bool,
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
    pub fn new(config: Config, now: crate::Instant) -> Self {
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
            heard: false,
            written: 0,
            stalled_at: None,
            reading_paused: false,
        }
    }

    /// Takes all whole frames out of what was read, and leaves the rest there.
    ///
    /// Call it after every read, also while a frame is coming in pieces: every octet is a sign of life.
    pub fn receive(&mut self, input: &mut BytesMut, now: crate::Instant) {
        self.tell_time(now);
        self.heard |= !input.is_empty();
        if self.phase == Phase::Greeting
            && let Some(error) = not_a_frame(input)
        {
            self.end(error);
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
    pub fn handle(&mut self, frame: Frame, now: crate::Instant) {
        self.tell_time(now);
        self.heard = true;
        self.dispatch(frame);
    }

    /// The link has ended. Pass everything that was read to [`receive`](Self::receive) first: the reason is often in
    /// there.
    pub fn disconnected(&mut self, cause: Cause, now: crate::Instant) {
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
    pub fn handle_timeout(&mut self, now: crate::Instant) {
        self.tell_time(now);
        while let Some((call, channel)) = self.timers.expired_call() {
            if let Ok(mut channel) = self.channel(channel) {
                channel.time_out(call);
            }
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
    pub fn poll_timeout(&self) -> Option<crate::Instant> {
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
    pub fn pause_reading(&mut self, paused: bool, now: crate::Instant) {
        self.tell_time(now);
        self.reading_paused = paused;
        self.heard = true;
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
    pub fn channel(&mut self, id: ChannelId) -> Result<Channel<'_>, Error> {
        let Self { slots, output, events, timers, limits, blocked, fault, .. } = self;
        match slots.get_mut(id) {
            Some(state) => Ok(Channel { state, shared: Shared { output, events, timers, limits, blocked: *blocked } }),
            None => Err(fault.clone().map_or(ChannelError::Closed.into(), Error::Connection)),
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

/// Input.
impl Connection {
    fn receive_frames(&mut self, chunk: &bytes::Bytes) {
        let mut at = 0;
        while self.fault.is_none() {
            match self.decoder.frame_at(chunk, at) {
                Ok(Some((frame, next))) => {
                    at = next;
                    self.dispatch(frame);
                }
                Ok(None) => return,
                Err(violation) => self.violated(violation),
            }
        }
    }

    fn dispatch(&mut self, frame: Frame) {
        let number = frame.channel;
        let result = match (frame.kind, number) {
            (FrameKind::Heartbeat, _) => return,
            (FrameKind::Method, 0) => frame.decode_method().map(|method| self.receive_method(method)),
            (_, 0) => Err(Violation::ContentOrder { channel: 0 }),
            _ => self.receive_on_channel(frame),
        };
        if let Err(violation) = result {
            self.violated(violation);
        }
    }

    fn receive_on_channel(&mut self, frame: Frame) -> Result<(), Violation> {
        let number = frame.channel;
        let Some(id) = self.slots.by_number(number).map(|state| state.id()) else {
            // A channel that was closed may have frames on their way.
            return if self.slots.was_used(number) { Ok(()) } else { Err(Violation::ChannelNotOpen(number)) };
        };
        if self.phase == Phase::Closing {
            return Ok(());
        }
        if let Ok(mut channel) = self.channel(id) {
            channel.receive(frame)?;
        }
        self.free_if_done(id);
        Ok(())
    }

    fn receive_method(&mut self, method: AnyMethod) {
        match self.phase.receive(method, &self.config) {
            Ok(step) => self.take_step(step),
            Err(ConnectionError::Violation(violation)) => self.violated(violation),
            Err(error) => self.end(error),
        }
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Introduced { server_properties, answer } => {
                self.server_properties = server_properties;
                self.send(&answer.into());
            }
            Step::Respond(response) => self.send(&response.into()),
            Step::Tuned { offer, tuning } => self.tuned(&offer, tuning),
            Step::Opened => {
                self.timers.stop(Timer::Handshake);
                self.start_watching();
                self.events.push(Event::Opened);
            }
            Step::ClosedByPeer(error) => {
                self.output.purge_all();
                self.send(&connection::CloseOk::new().into());
                self.end(error);
            }
            Step::CloseConfirmed => self.end(ConnectionError::Closed),
            Step::Blocked(reason) => {
                self.blocked = true;
                self.events.push(Event::Blocked { reason });
            }
            Step::Unblocked => {
                if core::mem::take(&mut self.blocked) {
                    self.events.push(Event::Unblocked);
                }
            }
            Step::Ignore => {}
        }
    }

    fn tuned(&mut self, offer: &Offer, tuning: Tuning) {
        self.tuning = tuning;
        self.limits = limits(&self.config, &self.tuning);
        self.decoder.set_limits(self.tuning.frame_limits(offer, &self.config));
        self.output.set_body_max(self.tuning.max_body_payload());
        let Tuning { channel_max, frame_max, heartbeat, .. } = self.tuning;
        self.send(&connection::TuneOk::new(channel_max, frame_max, heartbeat).into());
        self.send(&connection::Open::new(self.config.vhost.clone()).into());
    }
}

/// Time.
impl Connection {
    fn tell_time(&mut self, now: crate::Instant) {
        self.timers.advance(now);
        for (call, channel) in self.timers.take_undated() {
            let at = self.timers.now().saturating_add(self.config.call_timeout);
            if let Some(waiting) = self.slots.get_mut(channel).and_then(|state| state.call_mut(call)) {
                waiting.deadline = Some(at);
                self.timers.date_call(call, channel, at);
            }
        }
    }

    fn start_watching(&mut self) {
        if self.tuning.heartbeat > 0 {
            self.timers.set(Timer::SendHeartbeat, self.heartbeats(0.25));
            self.timers.set(Timer::ExpectHeartbeat, self.heartbeats(2.0));
        }
        self.timers.set(Timer::Write, self.config.write_timeout);
    }

    /// That many heartbeat intervals.
    fn heartbeats(&self, count: f32) -> Duration {
        Duration::from_secs(self.tuning.heartbeat.into()).mul_f32(count)
    }

    fn timer_expired(&mut self, timer: Timer, late: Duration) {
        match timer {
            Timer::Handshake => {
                let (stage, after) = (self.phase.stage(), self.config.handshake_timeout);
                self.end(ConnectionError::HandshakeTimeout { stage, after });
            }
            Timer::Close => self.end(ConnectionError::CloseTimeout { after: self.config.close_timeout }),
            Timer::SendHeartbeat => self.send_heartbeat(),
            Timer::ExpectHeartbeat => self.expect_heartbeat(late),
            Timer::Write => self.expect_progress(),
        }
    }

    /// Looked at four times an interval, so that the broker hears something at least twice in it.
    fn send_heartbeat(&mut self) {
        let written = self.output.written();
        if written == self.written && self.output.is_empty() {
            let mut frame = BytesMut::new();
            Frame::heartbeat().encode(&mut frame);
            self.output.write_raw(&frame);
        }
        self.written = written;
        self.timers.set(Timer::SendHeartbeat, self.heartbeats(0.25));
    }

    fn expect_heartbeat(&mut self, late: Duration) {
        let heard = core::mem::take(&mut self.heard) || self.reading_paused;
        if heard {
            self.timers.set(Timer::ExpectHeartbeat, self.heartbeats(2.0));
        } else if late > self.heartbeats(1.0) {
            // This process was asleep itself: read before judging.
            self.timers.set(Timer::ExpectHeartbeat, self.heartbeats(0.25));
        } else {
            self.end(ConnectionError::HeartbeatMissed { after: self.heartbeats(2.0) });
        }
    }

    /// What was queued at the last look must have begun to leave. A broker that has blocked us may take nothing.
    fn expect_progress(&mut self) {
        let (written, after) = (self.output.written(), self.config.write_timeout);
        if self.stalled_at == Some(written) && !self.blocked {
            return self.end(ConnectionError::WriteStalled { after });
        }
        self.stalled_at = (!self.output.is_empty()).then_some(written);
        self.timers.set(Timer::Write, after);
    }
}

/// Output and the end.
impl Connection {
    fn ready(&self) -> Result<(), Error> {
        match (&self.fault, &self.phase) {
            (Some(fault), _) => Err(fault.clone().into()),
            (None, Phase::Open) => Ok(()),
            (None, Phase::Closing | Phase::Closed) => Err(ConnectionError::Closed.into()),
            (None, _) => Err(Misuse::NotOpenYet.into()),
        }
    }

    /// Sends a method of the connection itself.
    fn send(&mut self, method: &AnyMethod) {
        match self.frame(method) {
            Ok(frame) => self.output.write_raw(&frame),
            Err(misuse) => self.end(ConnectionError::Misuse(misuse)),
        }
    }

    fn frame(&self, method: &AnyMethod) -> Result<BytesMut, Misuse> {
        let mut frame = BytesMut::new();
        let mut writer = Writer::new(&mut frame);
        write_method(&mut writer, 0, method, self.limits.frame_max)?;
        writer.commit();
        Ok(frame)
    }

    /// The peer broke the protocol: say so if it can still be said, and stop listening.
    fn violated(&mut self, violation: Violation) {
        if matches!(self.phase, Phase::Open | Phase::Closing) {
            self.output.purge_all();
            let text = alloc::string::ToString::to_string(&violation);
            self.send(&connection::Close::new(violation.reply_code(), shortened(&text)).into());
        }
        self.end(violation.into());
    }

    /// The end: all who wait are answered, all who come will be.
    fn end(&mut self, error: ConnectionError) {
        if self.fault.is_some() {
            return;
        }
        self.fail_channels(&error);
        self.phase = Phase::Closed;
        self.timers.clear();
        self.events.push(Event::Closed(error.clone()));
        self.fault = Some(error);
    }

    fn fail_channels(&mut self, error: &ConnectionError) {
        let fault = Error::Connection(error.clone());
        let Self { slots, output, events, timers, limits, blocked, .. } = self;
        for state in slots.iter_mut() {
            let shared = Shared { output, events, timers, limits, blocked: *blocked };
            Channel { state, shared }.fail_with_connection(&fault);
        }
    }

    fn free_if_done(&mut self, id: ChannelId) {
        if self.slots.get(id).is_some_and(State::is_free) {
            self.slots.free(id);
        }
    }
}

fn limits(config: &Config, tuning: &Tuning) -> Limits {
    Limits {
        frame_max: usize::try_from(tuning.frame_max).unwrap_or(usize::MAX),
        message_size: config.message_size_limit,
        outbox: config.outbox_limit,
        oversized: config.oversized,
    }
}

/// A reply text of at most 255 octets, cut between characters.
fn shortened(text: &str) -> String {
    let end = (0..=text.len().min(crate::wire::MAX_SHORT_STRING)).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().into()
}
