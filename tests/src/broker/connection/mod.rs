//! One connection: from the protocol header to the end, and the channels in between.
//!
//! ```text
//! Greeting ─ header ─► Login ─ start-ok ─► Tuning ─ tune-ok ─► Opening ─ open ─► Running
//!     │ another header    │                   │                   │                │
//!     ▼                   └── anything else ──┴─► Ignored ◄───────┘                ├─ close received ─► Left
//!    Gone                       (for 3 seconds, then Gone)                         └─ an error ─► Failed
//! ```
//!
//! `Left` waits for the client to hang up, `Failed` for its `close-ok`; both become `Gone` when that takes too long.

mod handshake;
mod heartbeat;
mod login;
mod malformed;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use amqp_core::{
    Instant,
    frame::{Decoder, Frame, FrameKind, FrameLimits},
    method::{AnyMethod, MethodId, ReplyCode, connection},
    wire::ShortString,
};
use bytes::BytesMut;

pub(super) use self::login::Users;
use self::{
    handshake::FRAME_MIN,
    heartbeat::Heartbeat,
    malformed::{Suspect, decode_on_channel_0},
};
use super::{
    Alarms, ChannelKey, ConnectionId,
    channel::{Channel, Context, Failure, Outcome},
    fault::{self, Fault},
    mailbox::Notice,
    name::Names,
    output::Output,
    vhost::VirtualHost,
};

/// How long the handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that is refused is left in silence.
const SILENCE: Duration = Duration::from_secs(3);
/// How long a closed connection waits for the client at most.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(30);
/// With this much waiting to be read by the client, in octets, nothing more is read from it: its requests would only
/// add to it.
const MAX_UNREAD: usize = 64 * 1024 * 1024;

/// What all connections share.
pub(super) struct World<'a> {
    pub(super) vhosts: &'a mut BTreeMap<ShortString, VirtualHost>,
    pub(super) users: &'a Users,
    pub(super) names: &'a mut Names,
    pub(super) alarms: &'a Alarms,
    pub(super) now: Instant,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    id: ConnectionId,
    phase: Phase,
    decoder: Decoder,
    frame_max: u32,
    out: Output,
    /// Changes whenever anything comes, for the heartbeats.
    received: u64,
    /// What was left of the input the last time.
    left_over: usize,
    /// When the phase has lasted too long.
    deadline: Option<Instant>,
    heartbeat: Option<Heartbeat>,
    heartbeat_interval: Duration,
    capabilities: Capabilities,
    user: ShortString,
    vhost: ShortString,
    channel_max: u16,
    channels: BTreeMap<u16, Channel>,
    /// An alarm has stopped this connection from being read.
    blocked: bool,
    /// The client has not read our `close` yet.
    close_unread: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Login,
    Tuning,
    Opening,
    Running,
    /// Refused without a word.
    Ignored,
    /// Closed by the client.
    Left,
    /// Closed by the broker.
    Failed,
    Gone,
}

/// What the client says it understands.
#[derive(Clone, Copy, Debug, Default)]
struct Capabilities {
    authentication_failure_close: bool,
    consumer_cancel_notify: bool,
    blocked: bool,
}

impl Connection {
    /// A connection that was just accepted.
    pub(super) fn new(id: ConnectionId, now: Instant) -> Self {
        let mut connection = Self {
            id,
            phase: Phase::Greeting,
            decoder: Decoder::new(FrameLimits { body: 0, other: 0 }),
            frame_max: 0,
            out: Output::default(),
            received: 0,
            left_over: 0,
            deadline: Some(now.saturating_add(HANDSHAKE_TIMEOUT)),
            heartbeat: None,
            heartbeat_interval: Duration::ZERO,
            capabilities: Capabilities::default(),
            user: ShortString::new(),
            vhost: ShortString::new(),
            channel_max: 0,
            channels: BTreeMap::new(),
            blocked: false,
            close_unread: false,
        };
        connection.set_frame_max(FRAME_MIN);
        connection
    }

    /// Takes whole frames.
    pub(super) fn receive(&mut self, input: &mut BytesMut, world: &mut World<'_>) {
        self.received += u64::from(input.len() != self.left_over);
        while self.wants_read() && self.step(input, world) {}
        self.left_over = input.len();
    }

    /// Takes one frame; false if there is none.
    fn step(&mut self, input: &mut BytesMut, world: &mut World<'_>) -> bool {
        match self.phase {
            Phase::Greeting => return self.greet(input),
            Phase::Ignored | Phase::Left | Phase::Gone => {
                input.clear();
                return false;
            }
            _ => {}
        }
        let suspect = Suspect::of(input);
        match self.decoder.decode(input) {
            Ok(None) => return false,
            Ok(Some(frame)) => self.handle(&frame, world),
            Err(violation) => {
                let fault = suspect.fault(&violation, self.frame_max);
                // What follows cannot be told apart any more.
                input.clear();
                self.refuse(Failure { fault, blamed: None }, world);
            }
        }
        true
    }

    fn handle(&mut self, frame: &Frame, world: &mut World<'_>) {
        let result = match self.phase {
            Phase::Running if frame.channel == 0 => self.handle_connection(frame, world),
            Phase::Running => self.handle_channel(frame, world),
            Phase::Failed => {
                self.handle_failed(frame);
                Ok(())
            }
            _ => {
                self.handle_handshake(frame, world);
                Ok(())
            }
        };
        match result {
            Ok(()) => self.stop_if_alarmed(frame.kind, world),
            Err(failure) => self.refuse(failure, world),
        }
    }

    /// Channel 0 of a connection in use.
    fn handle_connection(&mut self, frame: &Frame, world: &mut World<'_>) -> Result<(), Failure> {
        match frame.kind {
            FrameKind::Heartbeat => return Ok(()),
            FrameKind::Method => {}
            kind => {
                let fault = Fault::stray_frame(fault::octets(kind as u8, &frame.payload));
                return Err(Failure { fault, blamed: None });
            }
        }
        match decode_on_channel_0(frame)? {
            AnyMethod::ConnectionClose(_) => {
                self.end(world);
                self.out.send(0, connection::CloseOk::new());
                self.enter(Phase::Left, world.now.saturating_add(self.closing_timeout()));
                Ok(())
            }
            AnyMethod::ConnectionUpdateSecret(_) => {
                self.out.send(0, connection::UpdateSecretOk::new());
                Ok(())
            }
            method => {
                let fault = Fault::channel_error("unexpected method in connection state running");
                Err(Failure::of(fault, method.id()))
            }
        }
    }

    fn handle_channel(&mut self, frame: &Frame, world: &mut World<'_>) -> Result<(), Failure> {
        let number = frame.channel;
        if !self.channels.contains_key(&number) {
            let open = self.channels.values().filter(|channel| channel.is_counted()).count();
            if open >= usize::from(self.channel_max) {
                return Err(Failure { fault: Fault::too_many_channels(open, self.channel_max), blamed: None });
            }
        }
        let key = ChannelKey { connection: self.id, number };
        let Some((mut context, channels)) = self.context(world) else { return Ok(()) };
        let channel = channels.entry(number).or_insert_with(|| Channel::new(key));
        let outcome = channel.receive(frame, &mut context)?;
        if outcome == Outcome::Gone {
            channels.remove(&number);
        }
        Ok(())
    }

    /// After an error only the end of the connection is of interest.
    fn handle_failed(&mut self, frame: &Frame) {
        if frame.channel != 0 || frame.kind != FrameKind::Method {
            return;
        }
        match frame.decode_method() {
            Ok(AnyMethod::ConnectionCloseOk(_)) => self.phase = Phase::Gone,
            // RabbitMQ answers a client that had read its close, and none whose close crossed it.
            Ok(AnyMethod::ConnectionClose(_)) if !self.close_unread => self.out.send(0, connection::CloseOk::new()),
            _ => {}
        }
    }

    /// Reads what queues had to say to a channel.
    pub(super) fn read(&mut self, number: u16, notices: VecDeque<Notice>, world: &mut World<'_>) {
        let Some((mut context, channels)) = self.context(world) else { return };
        let Some(channel) = channels.get_mut(&number) else { return };
        if let Err(failure) = channel.read(notices, &mut context) {
            self.refuse(failure, world);
        }
    }

    /// Ends the connection for an error.
    fn refuse(&mut self, failure: Failure, world: &mut World<'_>) {
        match (self.phase, failure.fault) {
            (Phase::Running, Fault::Crash) => {
                self.end(world);
                self.phase = Phase::Gone;
            }
            (Phase::Running, Fault::Channel(code, words) | Fault::Connection(code, words)) => {
                self.fail(code, &words, failure.blamed, world);
            }
            (Phase::Running, Fault::Blameless(code, words)) => self.fail(code, &words, None, world),
            (Phase::Login | Phase::Tuning | Phase::Opening, _) => self.ignore(world.now),
            _ => {}
        }
    }

    /// Closes the connection with a reply code.
    pub(super) fn fail(&mut self, code: ReplyCode, words: &str, blamed: Option<MethodId>, world: &mut World<'_>) {
        self.end(world);
        let mut close = connection::Close::new(code, fault::reply_text(code, words));
        if let Some(blamed) = blamed {
            (close.class_id, close.method_id) = (blamed.class, blamed.method);
        }
        self.out.send(0, close);
        self.close_unread = true;
        self.enter(Phase::Failed, world.now.saturating_add(self.closing_timeout()));
    }

    /// Closes a connection in use because the operator says so; drops one that is not.
    pub(super) fn force_close(&mut self, words: &str, world: &mut World<'_>) {
        match self.phase {
            Phase::Running => self.fail(ReplyCode::CONNECTION_FORCED, words, None, world),
            Phase::Failed => {}
            _ => self.phase = Phase::Gone,
        }
    }

    /// Waits no longer for anything: the transport may go once everything is written.
    pub(super) fn abandon(&mut self, world: &mut World<'_>) {
        self.end(world);
        self.phase = Phase::Gone;
    }

    /// Gives back what all channels hold.
    pub(super) fn end(&mut self, world: &mut World<'_>) {
        let Some(vhost) = world.vhosts.get_mut(&self.vhost) else { return };
        for (_, mut channel) in std::mem::take(&mut self.channels) {
            channel.end(vhost);
        }
        vhost.close_connection(self.id);
    }

    fn ignore(&mut self, now: Instant) {
        self.enter(Phase::Ignored, now.saturating_add(SILENCE));
    }

    fn enter(&mut self, phase: Phase, deadline: Instant) {
        self.phase = phase;
        self.deadline = Some(deadline);
    }

    /// Stops reading from a client that publishes during an alarm, and tells it why if it wants to know.
    fn stop_if_alarmed(&mut self, kind: FrameKind, world: &World<'_>) {
        let is_publishing = matches!(kind, FrameKind::Header | FrameKind::Body);
        let Some(reason) = world.alarms.reason() else { return };
        if self.phase == Phase::Running && is_publishing && !self.blocked {
            self.blocked = true;
            if self.capabilities.blocked {
                self.out.send(0, connection::Blocked::new(reason));
            }
        }
    }

    /// All alarms are over.
    pub(super) fn unblock(&mut self) {
        if std::mem::take(&mut self.blocked) && self.capabilities.blocked && self.phase == Phase::Running {
            self.out.send(0, connection::Unblocked::new());
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, world: &mut World<'_>) {
        if self.deadline.is_some_and(|deadline| deadline <= world.now) {
            self.abandon(world);
        }
        let is_read = self.wants_read();
        let Some(heartbeat) = &mut self.heartbeat else { return };
        if self.phase == Phase::Gone || self.phase == Phase::Ignored {
            return;
        }
        let found = heartbeat.look(self.out.written(), self.received, is_read, world.now);
        if found.is_alone {
            self.abandon(world);
        } else if found.is_due {
            self.out.heartbeat();
            heartbeat.sent(self.out.written());
        }
    }

    /// Takes what is to be sent.
    pub(super) fn take_output(&mut self, world: &mut World<'_>) -> BytesMut {
        self.close_unread = false;
        if let Some(vhost) = world.vhosts.get_mut(&self.vhost) {
            self.channels.retain(|_, channel| channel.output_taken(vhost) == Outcome::Stays);
        }
        self.out.take()
    }

    /// When something is due.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let heartbeat = self.heartbeat.as_ref().filter(|_| !matches!(self.phase, Phase::Gone | Phase::Ignored));
        let deadline = self.deadline.filter(|_| self.phase != Phase::Gone);
        deadline.into_iter().chain(heartbeat.map(Heartbeat::next)).min()
    }

    /// Whether anything waits to be sent.
    pub(super) fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether input is taken.
    pub(super) fn wants_read(&self) -> bool {
        !self.blocked && self.out.len() < MAX_UNREAD
    }

    /// Whether the transport can go.
    pub(super) fn wants_close(&self) -> bool {
        self.phase == Phase::Gone && self.out.is_empty()
    }

    fn context<'a>(&'a mut self, world: &'a mut World<'_>) -> Option<(Context<'a>, &'a mut BTreeMap<u16, Channel>)> {
        let context = Context {
            vhost: world.vhosts.get_mut(&self.vhost)?,
            names: world.names,
            out: &mut self.out,
            user: &self.user,
            cancel_notify: self.capabilities.consumer_cancel_notify,
        };
        Some((context, &mut self.channels))
    }

    fn set_frame_max(&mut self, frame_max: u32) {
        // RabbitMQ lets the payload, instead of the whole frame, be as large as agreed.
        const SLACK: u32 = 8;
        let limit = frame_max.saturating_add(SLACK);
        self.decoder.set_limits(FrameLimits { body: limit, other: limit });
        self.out.set_frame_max(frame_max);
        self.frame_max = frame_max;
    }

    fn closing_timeout(&self) -> Duration {
        let interval = self.heartbeat_interval;
        if interval.is_zero() { CLOSING_TIMEOUT } else { interval.min(CLOSING_TIMEOUT) }
    }
}
