//! The handshake, from the protocol header to `connection.open-ok`.
//!
//! RabbitMQ answers what it does not like by silence, and hangs up three seconds later; all it ever says is that the
//! password is wrong, if the client asked to be told, and that the virtual host does not exist.

use amqp_core::{
    frame::{Frame, FrameKind, PROTOCOL_HEADER},
    method::{AnyMethod, Method, ReplyCode, connection},
    wire::{ShortString, Table, Value},
};
use bytes::BytesMut;

use super::{
    super::fault,
    Capabilities, Connection, Heartbeat, Phase, World,
    login::{self, Login, MECHANISMS},
};

/// The smallest `frame_max` there may be, in octets, and the largest frame until one is agreed.
pub(super) const FRAME_MIN: u32 = 4096;
/// The largest frame that is offered, in octets.
const FRAME_MAX: u32 = 131_072;
/// How many channels are offered.
const CHANNEL_MAX: u16 = 2047;
/// The heartbeat interval that is offered, in seconds.
const HEARTBEAT: u16 = 60;
/// The header of AMQP 0-9, which RabbitMQ takes for 0-9-1.
const HEADER_0_9: &[u8; 8] = b"AMQP\x01\x01\0\x09";

impl Connection {
    /// Takes the protocol header.
    pub(super) fn greet(&mut self, input: &mut BytesMut) -> bool {
        if input.len() < PROTOCOL_HEADER.len() {
            return false;
        }
        let header = input.split_to(PROTOCOL_HEADER.len());
        if header[..] != PROTOCOL_HEADER[..] && header[..] != HEADER_0_9[..] {
            self.out.raw(PROTOCOL_HEADER);
            self.phase = Phase::Gone;
            return true;
        }
        self.out.send(0, connection::Start::new(0, 9, server_properties(), MECHANISMS, "en_US"));
        self.phase = Phase::Login;
        true
    }

    /// Takes a frame during the handshake.
    pub(super) fn handle_handshake(&mut self, frame: &Frame, world: &mut World<'_>) {
        if frame.kind == FrameKind::Heartbeat {
            return;
        }
        let method = if frame.channel == 0 { frame.decode_method().ok() } else { None };
        match (self.phase, method) {
            (Phase::Login, Some(AnyMethod::ConnectionStartOk(start))) => self.log_in(&start, world),
            (Phase::Tuning, Some(AnyMethod::ConnectionTuneOk(tune))) => self.tune(&tune, world),
            (Phase::Opening, Some(AnyMethod::ConnectionOpen(open))) => self.open(&open, world),
            _ => self.ignore(world.now),
        }
    }

    fn log_in(&mut self, start: &connection::StartOk, world: &World<'_>) {
        self.capabilities = Capabilities::of(&start.client_properties);
        match login::attempt(start, world.users) {
            Login::Accepted(user) => {
                self.user = user;
                self.out.send(0, connection::Tune::new(CHANNEL_MAX, FRAME_MAX, HEARTBEAT));
                self.phase = Phase::Tuning;
            }
            Login::Refused => {
                if self.capabilities.authentication_failure_close {
                    let words = format!(
                        "Login was refused using authentication mechanism {}. For details see the broker logfile.",
                        start.mechanism
                    );
                    let code = ReplyCode::ACCESS_REFUSED;
                    self.out.send(0, connection::Close::new(code, fault::reply_text(code, &words)));
                }
                self.ignore(world.now);
            }
            Login::Garbage => self.ignore(world.now),
        }
    }

    fn tune(&mut self, tune: &connection::TuneOk, world: &World<'_>) {
        let frame_max_fits = (FRAME_MIN..=FRAME_MAX).contains(&tune.frame_max);
        if !frame_max_fits || !(1..=CHANNEL_MAX).contains(&tune.channel_max) {
            self.ignore(world.now);
            return;
        }
        self.set_frame_max(tune.frame_max);
        self.channel_max = tune.channel_max;
        self.heartbeat = Heartbeat::start(tune.heartbeat, world.now);
        self.heartbeat_interval = std::time::Duration::from_secs(tune.heartbeat.into());
        self.phase = Phase::Opening;
    }

    fn open(&mut self, open: &connection::Open, world: &mut World<'_>) {
        if !world.vhosts.contains_key(&open.virtual_host) {
            let words = format!("vhost {} not found", open.virtual_host);
            self.fail(ReplyCode::NOT_ALLOWED, &words, Some(connection::Open::ID), world);
            return;
        }
        self.vhost = open.virtual_host.detach();
        self.out.send(0, connection::OpenOk::new());
        self.phase = Phase::Running;
        self.deadline = None;
    }
}

impl Capabilities {
    fn of(client_properties: &Table) -> Self {
        let capabilities = client_properties.get("capabilities").and_then(Value::as_table);
        let has = |name| capabilities.and_then(|table| table.get(name)).and_then(Value::as_bool).unwrap_or(false);
        Self {
            authentication_failure_close: has("authentication_failure_close"),
            consumer_cancel_notify: has("consumer_cancel_notify"),
            blocked: has("connection.blocked"),
        }
    }
}

/// What the broker says about itself: it can do what RabbitMQ 3.10 can, and does not pretend to be one.
fn server_properties() -> Table {
    let capabilities = [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ];
    let capabilities: Table = capabilities.into_iter().map(|name| (ShortString::from_static(name), true)).collect();
    Table::new()
        .with("capabilities", capabilities)
        .with("cluster_name", "embedded@localhost")
        .with("information", "An embedded broker for tests, which behaves like RabbitMQ 3.10")
        .with("platform", "Rust")
        .with("product", "amqp-test")
        .with("version", env!("CARGO_PKG_VERSION"))
}
