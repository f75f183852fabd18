//! What cannot be read, and what we refuse to send.
//!
//! [`Malformed`] blames the octets, [`Misuse`] the caller. A command that fails with `Misuse` has sent nothing, used
//! up no number and left the connection as it was.

use thiserror::Error;

use super::ShortString;

/// Octets that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A length, or the field itself, reaches beyond the end of what it stands in.
    #[error("a field reaches beyond the end")]
    Truncated,
    /// There is more than the fields take.
    #[error("octets are left over behind the last field")]
    TrailingOctets,
    /// A type letter that RabbitMQ does not know.
    #[error("unknown field type {:?}", char::from(*.0))]
    UnknownFieldType(u8),
    /// Tables and arrays are nested deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    #[error("tables nested too deep")]
    TooDeep,
    /// A table or array of more than [`MAX_TABLE_SIZE`](super::MAX_TABLE_SIZE) octets.
    #[error("table too large")]
    TableTooLarge,
    /// The property flags announce a second word, which AMQP 0-9-1 has no use for.
    #[error("property flags continue in a second word")]
    PropertyFlags,
}

/// What the program asked for and cannot have: nothing was sent, nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misuse {
    /// A name, key or tag of more than 255 octets.
    #[error("{field} has {length} octets, a short string takes {limit}")]
    ShortStringTooLong {
        /// The field that it was meant for.
        field: &'static str,
        /// Its length in octets.
        length: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A long string whose length does not fit 32 bits.
    #[error("{field} has {length} octets, which 32 bits do not hold")]
    LongStringTooLong {
        /// The field that it was meant for.
        field: &'static str,
        /// Its length in octets.
        length: usize,
    },
    /// Tables or arrays nested too deep.
    #[error("{field} is nested deeper than {limit} tables")]
    TableTooDeep {
        /// The field that it was meant for.
        field: &'static str,
        /// The deepest there may be.
        limit: usize,
    },
    /// A table or array that is too large when encoded.
    #[error("{field} takes {size} octets, a table may take {limit}")]
    TableTooLarge {
        /// The field that it was meant for.
        field: &'static str,
        /// Its encoded size in octets.
        size: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A float that is infinite or not a number; RabbitMQ drops the connection for it.
    #[error("{field} holds a float that is not finite")]
    NotFinite {
        /// The field that it was meant for.
        field: &'static str,
    },
    /// A method, or the properties of a message, that do not fit one frame.
    #[error("a frame of {size} octets is needed, {limit} were agreed with the broker")]
    FrameTooLarge {
        /// The size of the frame in octets.
        size: usize,
        /// The agreed `frame_max`.
        limit: usize,
    },
    /// A body larger than [`Config::message_size_limit`](crate::Config::message_size_limit).
    #[error("a body of {size} octets, the limit is {limit}")]
    BodyTooLarge {
        /// The size of the body in octets.
        size: usize,
        /// The most there may be.
        limit: usize,
    },
    /// The connection is not open yet: wait for [`Event::Opened`](crate::Event::Opened).
    #[error("the connection is not open yet")]
    NotOpenYet,
    /// All channel numbers are taken.
    #[error("all {limit} channels are in use")]
    NoFreeChannel {
        /// How many were agreed with the broker.
        limit: u16,
    },
    /// A consumer of this tag exists on the channel already; RabbitMQ would close the connection.
    #[error("consumer tag {0} is in use on this channel")]
    ConsumerTagInUse(ShortString),
    /// A queue without a name, declared without an answer: nobody would ever learn its name.
    #[error("a queue named by the broker cannot be declared without waiting for its name")]
    UnnamedWithoutReply,
    /// An option that RabbitMQ does not implement and answers by closing the connection.
    #[error("{0} is not implemented by RabbitMQ, which would close the connection")]
    NotImplemented(&'static str),
    /// The channel is in confirm mode and cannot use transactions, or the reverse.
    #[error("a channel has either confirms or transactions")]
    ConfirmsAndTransactions,
    /// What only confirm mode has, on a channel that is not in it: select it with `confirm.select` first.
    #[error("the channel is not in confirm mode")]
    NotConfirming,
    /// A consumer that nobody would take the messages of: start it with the adapter's own `consume`.
    #[error("nobody would take the messages of this consumer: start it with consume()")]
    NobodyConsumes,
    /// The outcome of a publish was not asked for, and thousands of failures came after it.
    #[error("the outcome of this publish was forgotten, because nobody asked for it")]
    OutcomeForgotten,
    /// A user name or password with a zero octet, which the PLAIN mechanism cannot carry.
    #[error("a user name or password with a zero octet cannot be sent")]
    ZeroInCredentials,
    /// A message of a consumer without acknowledgements was to be acknowledged; RabbitMQ would close the channel.
    #[error("a message that was asked for without acknowledgements is settled already")]
    SettledAlready,
    /// The answer belongs to another call.
    #[error("this answer belongs to another call")]
    AnswerOfAnotherCall,
    /// More calls are waiting on one channel than [`MAX_PENDING_CALLS`](crate::connection::MAX_PENDING_CALLS).
    #[error("{limit} calls are waiting on this channel already")]
    TooManyCalls {
        /// The most there may be.
        limit: usize,
    },
    /// [`Config::frame_max`](crate::Config::frame_max) is below what the protocol allows.
    #[error("frame_max {wanted} is below the protocol's minimum of {minimum}")]
    FrameMaxTooSmall {
        /// What was configured.
        wanted: u32,
        /// The least there may be.
        minimum: u32,
    },
    /// An `amqps` address, and no TLS to speak it with.
    #[error("amqps needs TLS, which this version does not have")]
    NoTls,
}
