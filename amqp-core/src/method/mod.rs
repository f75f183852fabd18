//! The methods of AMQP 0-9-1 as values: one struct for each, with the traits that say how it is answered.
//!
//! The structs are generated from the tables in `spec/`. Whether somebody waits for an answer is part of the type:
//! a [`Request`] is answered, a [`OneWay`] method is not, and `.nowait()` turns the first into the second.

mod any;
mod codes;
mod headers;
mod presets;
mod properties;

pub mod access;
pub mod basic;
pub mod channel;
pub mod confirm;
pub mod connection;
pub mod exchange;
pub mod queue;
pub mod tx;

use core::fmt;

pub use self::{any::AnyMethod, codes::ReplyCode, headers::Headers, properties::Properties};
use crate::wire::{Malformed, Misuse, Reader, Writer};

/// The class and method number that name a method on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodId {
    /// The class number, 60 for `basic`.
    pub class: u16,
    /// The method number within its class.
    pub method: u16,
}

impl MethodId {
    /// A name from its two numbers.
    pub const fn new(class: u16, method: u16) -> Self {
        Self { class, method }
    }

    /// The method's name, `basic.publish`, if it is one of the protocol's.
    pub fn name(self) -> Option<&'static str> {
        any::method_name(self.class, self.method)
    }
}

impl fmt::Display for MethodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "method {}.{}", self.class, self.method),
        }
    }
}

/// A method of the protocol, with its arguments.
pub trait Method: Clone + fmt::Debug + PartialEq + Into<AnyMethod> + TryFrom<AnyMethod, Error = AnyMethod> {
    /// Its numbers.
    const ID: MethodId;
    /// Its name in the protocol, `queue.declare`.
    const NAME: &'static str;

    /// Writes the arguments, without the numbers in front of them.
    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), Misuse>;

    /// Reads the arguments. Whether anything is left behind them is the caller's to check.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// A method that the broker answers: [`Channel::call`](crate::Channel::call) takes it and gives the answer.
pub trait Request: Method {
    /// What the broker answers with.
    type Reply: Method;
}

/// A method that nobody answers: [`Channel::send`](crate::Channel::send) takes it. If it fails, the broker closes the
/// channel some time later, and the next operation reports that.
pub trait OneWay: Into<AnyMethod> {}

/// A request whose answer is not wanted, made by its `nowait()`: the broker carries it out in silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoWait<R>(pub(crate) R);

impl<R> NoWait<R> {
    /// The request itself.
    pub fn request(&self) -> &R {
        &self.0
    }
}

impl<R: Request> OneWay for NoWait<R> {}

impl<R: Request> From<NoWait<R>> for AnyMethod {
    fn from(silent: NoWait<R>) -> Self {
        silent.0.into()
    }
}
