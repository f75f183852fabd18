//! An AMQP 0-9-1 client for RabbitMQ on plain threads, without an async runtime.
//!
//! As synchronous as possible: a [`call`](Channel::call) waits for its own answer, and an error of an operation that
//! has no answer is reported by the next one on its channel, by every one after that, and at the latest by the end of
//! [`with_channel`](Connection::with_channel).
//!
//! ```no_run
//! use amqp_blocking::{Publish, method::{basic, queue}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let connection = amqp_blocking::connect("amqp://localhost/")?;
//! let channel = connection.open_channel()?;
//! channel.call(queue::Declare::new("hello"))?;
//! channel.publish(Publish::new("", "hello").body("Hello world!"))?;
//! for delivery in channel.consume(basic::Consume::new("hello"))?.take(1) {
//!     let delivery = delivery?;
//!     println!("{}", delivery.body_str()?);
//!     delivery.ack()?;
//! }
//! connection.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! A connection has two threads: one reads, one writes what no caller writes itself and keeps the time. Neither
//! runs code of the program, so heartbeats go on whatever the program does.
//!
//! Requests, replies and properties are values of [`method`]; what goes wrong is an [`Error`].

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod channel;
mod confirm;
mod connection;
mod consumer;
mod delivery;
mod link;
mod notice;
mod state;
mod transaction;
mod transport;
mod wakeups;
mod worker;

pub use amqp_core::{
    ChannelError, Close, Config, ConnectionError, Error, Message, Misuse, Outcome, Payload, Publish, Returned, Uri,
    connection::Window, method, wire,
};

pub use self::{
    channel::Channel,
    confirm::{Confirm, Failure},
    connection::Connection,
    consumer::Consumer,
    delivery::Delivery,
    notice::Notice,
    worker::{OnFailure, Workers, Working},
};

/// Connects to the broker at this address, such as `amqp://user:password@host:5672/vhost?heartbeat=10`.
///
/// # Errors
///
/// [`ConnectionError`], which tells the ways apart in which this can fail.
pub fn connect(uri: &str) -> Result<Connection, Error> {
    Connection::connect(uri)
}

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
