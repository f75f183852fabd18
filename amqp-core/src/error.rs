//! Errors, sorted by who is to blame: the channel's operation, the connection, or the caller.
//!
//! A fault is stored once and reported by every operation that meets it, so all of these are cheap enough to clone
//! and can be compared.

use alloc::{boxed::Box, string::String};
use core::{fmt, time::Duration};

use thiserror::Error;

use crate::{
    message::Returned,
    method::{MethodId, ReplyCode},
    uri::UriError,
    wire::{Malformed, Misuse, ShortString},
};

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The channel failed, or this operation on it; the connection and its other channels go on.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The connection failed, and all its channels with it.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The request was refused before anything was sent.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// There is no room for a publish right now: the broker reads too slowly, or asked for a pause. Nothing was sent;
    /// try again when output has left.
    #[error("no room to publish: the broker takes messages too slowly")]
    WouldBlock,
}

impl Error {
    /// What the broker said when it closed the channel or the connection, if that is why.
    pub fn close(&self) -> Option<&Close> {
        match self {
            Self::Channel(ChannelError::ClosedByBroker(close))
            | Self::Connection(
                ConnectionError::ClosedByBroker(close)
                | ConnectionError::AuthenticationRefused(close)
                | ConnectionError::VirtualHostRefused(close),
            ) => Some(close),
            _ => None,
        }
    }
}

/// What the broker says when it closes a channel or a connection (class `channel` or `connection`, method `close`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Close {
    /// The reply code. Whether it is soft or hard is told by what was closed.
    pub code: ReplyCode,
    /// The broker's own words, with U+FFFD for what is not UTF-8.
    pub text: String,
    /// The method that the broker blames; none if it blames no method, as after a consumer timeout.
    pub method: Option<MethodId>,
    /// The publish that the broker blames, if it blames one and that can be told.
    pub culprit: Option<Box<Culprit>>,
}

/// A publish for which the broker closed the channel; or several, if it may be any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Culprit {
    /// Its number on the channel: the first publish is 1. If it may be several, the first of them.
    pub number: u64,
    /// The same number, unless it may be several: then the last of them. An exchange that is missing now may have been
    /// there for the first ones.
    pub last: u64,
    /// The exchange that it was published to.
    pub exchange: ShortString,
    /// Its routing key, if that is known.
    pub routing_key: Option<ShortString>,
    /// How many publishes behind it the broker discarded with it for certain.
    pub discarded: u64,
}

impl Culprit {
    /// Whether it is known for certain.
    pub fn is_certain(&self) -> bool {
        self.number == self.last
    }
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_certain() {
            let (first, last) = (self.number, self.last);
            return write!(f, "one of the publishes {first} to {last}, one to exchange {:?}", self.exchange);
        }
        write!(f, "publish {} to exchange {:?}", self.number, self.exchange)?;
        if let Some(routing_key) = &self.routing_key {
            write!(f, " with routing key {routing_key:?}")?;
        }
        match self.discarded {
            0 => Ok(()),
            1 => f.write_str(", and the one behind it is lost"),
            count => write!(f, ", and the {count} behind it are lost"),
        }
    }
}

impl Close {
    pub(crate) fn new(code: ReplyCode, text: &[u8], class: u16, method: u16) -> Self {
        let blamed = (class != 0).then_some(MethodId::new(class, method));
        Self { code, text: String::from_utf8_lossy(text).into_owned(), method: blamed, culprit: None }
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RabbitMQ's text mostly starts with the code's name: say it once.
        match self.code.name() {
            Some(name) if self.text.starts_with(name) => write!(f, "{} {}", self.code.0, self.text)?,
            _ => write!(f, "{} {}", self.code, self.text)?,
        }
        match (&self.culprit, self.method) {
            (Some(culprit), Some(method)) => write!(f, " ({method}: {culprit})"),
            (None, Some(method)) => write!(f, " ({method})"),
            (_, None) => Ok(()),
        }
    }
}

/// Why an operation on a channel failed. Unless it says otherwise, the channel is gone and every later operation
/// on it reports the same.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The broker closed the channel because an operation failed: this one, or an earlier one that has no answer.
    #[error("channel closed by the broker: {0}")]
    ClosedByBroker(Close),
    /// This program closed the channel.
    #[error("channel is closed")]
    Closed,
    /// A call was not answered within its deadline. The channel goes on; the late answer will be dropped.
    #[error("no answer to {method} in time{}", if *.blocked { ", the broker has blocked the connection" } else { "" })]
    NoReply {
        /// The method that was called.
        method: MethodId,
        /// Whether the broker has blocked the connection, and so reads nothing from it.
        blocked: bool,
    },
    /// A message that `basic.get` fetched exceeds [`Config::message_size_limit`](crate::Config::message_size_limit).
    /// It was settled as [`Config::oversized`](crate::Config::oversized) says. The channel goes on.
    #[error("a message of {size} octets, the limit is {limit}")]
    MessageTooLarge {
        /// The size of its body in octets.
        size: u64,
        /// The most there may be.
        limit: u64,
    },
    /// The consumer has ended: the broker cancelled it, mostly because its queue was deleted, or this program did. The
    /// channel goes on.
    #[error("consumer {consumer_tag} was cancelled{}", if *.by_broker { " by the broker" } else { "" })]
    ConsumerCancelled {
        /// The consumer's tag.
        consumer_tag: ShortString,
        /// Whether the broker cancelled it.
        by_broker: bool,
    },
    /// The broker could not take a message. The channel goes on.
    #[error("the broker refused the message (basic.nack): a queue is full or has failed")]
    Nacked,
    /// The broker has not confirmed a message in time; it may still do so. The channel goes on.
    #[error("the broker has not confirmed the message in time")]
    Unconfirmed,
    /// A mandatory message reached no queue and came back. The channel goes on.
    #[error("message returned: {0}")]
    Returned(Box<Returned>),
}

/// Why the connection is gone, or never came to be. It never comes back.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The address is not one.
    #[error("{0}")]
    Uri(#[from] UriError),
    /// Nobody could be reached at this address.
    #[error("cannot connect to {address}: {cause}")]
    Unreachable {
        /// The address that was tried.
        address: String,
        /// What the operating system says.
        cause: Cause,
    },
    /// The peer is an AMQP server, of another version of the protocol.
    #[error("the server speaks {0}, not AMQP 0-9-1")]
    OtherProtocol(ProtocolVersion),
    /// What answers at this address is no AMQP server.
    #[error("this is no AMQP server: {0}")]
    NotAmqp(Greeting),
    /// The broker and this program have no way to log in that both know.
    #[error("no common way to log in: the broker offers {offered:?}, this program {wanted:?}")]
    NoCommonMechanism {
        /// The mechanisms that the broker offers, separated by spaces.
        offered: String,
        /// The mechanisms that this program is configured with.
        wanted: String,
    },
    /// The broker refused the user or the password.
    #[error("login refused: {0}")]
    AuthenticationRefused(Close),
    /// The broker hung up in the middle of the login without a word; brokers do so when they refuse it.
    #[error("the broker hung up during login, probably refusing it: {0}")]
    AuthenticationProbablyRefused(Cause),
    /// The broker asked for more rounds of the login than a login takes, or for one that the mechanism does not have.
    #[error("the broker asked for a login step that the mechanism does not have")]
    UnexpectedChallenge,
    /// The broker offers limits that the protocol does not allow.
    #[error("the broker offers a frame_max of {offered}, the protocol's minimum is {minimum}")]
    FrameMaxTooSmall {
        /// What the broker offers, in octets.
        offered: u32,
        /// The protocol's minimum.
        minimum: u32,
    },
    /// The broker hung up when it was told the negotiated limits, probably refusing them.
    #[error("the broker hung up on the negotiated limits or the virtual host: {0}")]
    TuningProbablyRefused(Cause),
    /// The broker does not let this user into this virtual host, or does not have it.
    #[error("virtual host refused: {0}")]
    VirtualHostRefused(Close),
    /// The handshake took longer than [`Config::handshake_timeout`](crate::Config::handshake_timeout).
    #[error("no answer from the server during {stage} within {after:?}")]
    HandshakeTimeout {
        /// What was waited for.
        stage: Stage,
        /// How long the handshake had been going on.
        after: Duration,
    },
    /// The broker closed the connection.
    #[error("connection closed by the broker: {0}")]
    ClosedByBroker(Close),
    /// This program closed the connection.
    #[error("connection is closed")]
    Closed,
    /// This program closed the connection, and the broker did not answer within
    /// [`Config::close_timeout`](crate::Config::close_timeout).
    #[error("connection is closed, which the broker did not confirm within {after:?}")]
    CloseTimeout {
        /// How long was waited.
        after: Duration,
    },
    /// The link ended.
    #[error("connection lost during {stage}: {cause}")]
    Disconnected {
        /// What the connection was doing.
        stage: Stage,
        /// What the operating system says.
        cause: Cause,
    },
    /// Nothing arrived for two heartbeat intervals.
    #[error("connection lost: nothing was received for {after:?}")]
    HeartbeatMissed {
        /// How long it has been silent.
        after: Duration,
    },
    /// There was something to send and nothing could be sent for this long.
    #[error("connection lost: nothing could be sent for {after:?}")]
    WriteStalled {
        /// How long the broker has been taking nothing.
        after: Duration,
    },
    /// The broker broke the protocol.
    #[error("protocol violation by the server: {0}")]
    Violation(#[from] Violation),
    /// The configuration cannot be sent to a broker.
    #[error("cannot log in with this configuration: {0}")]
    Misuse(Misuse),
}

/// What a connection is doing when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The protocol header was sent, the broker's `connection.start` is due.
    Greeting,
    /// Logging in: `connection.secure` or `connection.tune` is due.
    Login,
    /// Opening the virtual host: `connection.open-ok` is due.
    Opening,
    /// Open for use.
    Open,
    /// Closing: `connection.close-ok` is due.
    Closing,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "the greeting",
            Self::Login => "login",
            Self::Opening => "opening the virtual host",
            Self::Open => "use",
            Self::Closing => "closing",
        })
    }
}

/// The words of the operating system, or of whatever carries the octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause(String);

impl Cause {
    /// Any words.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The peer ended its stream.
    pub fn end_of_stream() -> Self {
        Self::new("the server hung up")
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(feature = "std")]
impl From<&std::io::Error> for Cause {
    fn from(error: &std::io::Error) -> Self {
        use alloc::string::ToString;
        Self(error.to_string())
    }
}

/// The four octets behind `AMQP` in a protocol header: protocol id, major, minor, revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolVersion(pub [u8; 4]);

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // The SASL header of AMQP 1.0 has protocol id 3, its TLS header 2.
            [0 | 2 | 3, 1, 0, 0] => f.write_str("AMQP 1.0"),
            [0, 0, 9, 1] => f.write_str("AMQP 0-9-1 (and refused the connection)"),
            [id, major, minor, revision] => write!(f, "AMQP {id}-{major}-{minor}-{revision}"),
        }
    }
}

/// How something that is no AMQP server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Greeting {
    /// Like a web server.
    Http,
    /// With a TLS record: this port speaks TLS only.
    Tls,
    /// With a secure shell banner.
    Ssh,
    /// With these octets.
    Other([u8; 4]),
}

impl fmt::Display for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http => f.write_str("it answers like a web server"),
            Self::Tls => f.write_str("it answers with TLS, is this the amqps port?"),
            Self::Ssh => f.write_str("it answers like a secure shell server"),
            Self::Other(octets) => write!(f, "it answers with {octets:02x?}"),
        }
    }
}

/// How the peer broke the protocol. The connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// A frame that does not end with 0xCE.
    #[error("a frame ends with {0:#04x} instead of 0xce")]
    FrameEnd(u8),
    /// A frame of a type that does not exist.
    #[error("unknown frame type {0}")]
    FrameType(u8),
    /// A frame larger than what was agreed.
    #[error("a frame of {size} octets, {limit} were agreed")]
    FrameTooLarge {
        /// Its announced size, header and end octet included.
        size: u64,
        /// The most there may be.
        limit: u32,
    },
    /// A heartbeat that carries something, or on a channel other than 0.
    #[error("a heartbeat with a payload or a channel")]
    Heartbeat,
    /// A method or content header that cannot be decoded.
    #[error("malformed {what}: {error}")]
    Malformed {
        /// What was being decoded.
        what: &'static str,
        /// What is wrong with it.
        error: Malformed,
    },
    /// A method that AMQP 0-9-1 does not have.
    #[error("unknown {0}")]
    UnknownMethod(MethodId),
    /// A method that cannot come now, or never from a server.
    #[error("unexpected {method} on channel {channel}")]
    UnexpectedMethod {
        /// The method.
        method: MethodId,
        /// The channel's number.
        channel: u16,
    },
    /// An answer that no call is waiting for.
    #[error("{method} on channel {channel} answers no call")]
    UnexpectedReply {
        /// The answer.
        method: MethodId,
        /// The channel's number.
        channel: u16,
    },
    /// A frame for a channel that is not open.
    #[error("a frame for channel {0}, which is not open")]
    ChannelNotOpen(u16),
    /// A method where the rest of a message is due, or the rest of a message where none is due.
    #[error("frames of a message out of order on channel {channel}")]
    ContentOrder {
        /// The channel's number.
        channel: u16,
    },
    /// A content header of another class, or with a weight.
    #[error("a content header that does not belong to its method on channel {channel}")]
    ContentHeader {
        /// The channel's number.
        channel: u16,
    },
    /// A body larger than its header announced.
    #[error("a body longer than announced on channel {channel}")]
    BodyOverrun {
        /// The channel's number.
        channel: u16,
    },
    /// A message so large that it is hopeless to wait for its end.
    #[error("a message of {size} octets announced on channel {channel}")]
    BodySize {
        /// The announced size in octets.
        size: u64,
        /// The channel's number.
        channel: u16,
    },
    /// The server proposes a version other than 0-9.
    #[error("connection.start proposes version {major}-{minor}")]
    Version {
        /// The proposed major version.
        major: u8,
        /// The proposed minor version.
        minor: u8,
    },
}

impl Violation {
    /// The reply code that the peer is told.
    pub fn reply_code(&self) -> ReplyCode {
        match self {
            Self::FrameEnd(_) | Self::FrameType(_) | Self::FrameTooLarge { .. } | Self::Heartbeat => {
                ReplyCode::FRAME_ERROR
            }
            Self::Malformed { .. } => ReplyCode::SYNTAX_ERROR,
            Self::UnknownMethod(_) | Self::UnexpectedMethod { .. } | Self::Version { .. } => ReplyCode::COMMAND_INVALID,
            Self::ChannelNotOpen(_) => ReplyCode::CHANNEL_ERROR,
            Self::UnexpectedReply { .. }
            | Self::ContentOrder { .. }
            | Self::ContentHeader { .. }
            | Self::BodyOverrun { .. } => ReplyCode::UNEXPECTED_FRAME,
            Self::BodySize { .. } => ReplyCode::RESOURCE_ERROR,
        }
    }
}
