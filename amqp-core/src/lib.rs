//! AMQP 0-9-1 as RabbitMQ speaks it, as one pure state machine.
//!
//! Octets, commands and the time go in; events, octets and the next deadline come out. There is no socket, thread,
//! clock, lock, log or callback in here, so the same [`Connection`] runs under threads, under an async runtime, in an
//! event loop of your own, in a simulation and in a fuzzer.
//!
//! If you want to talk to a broker and have no event loop to protect, use an adapter: `amqp-blocking`. If you have one,
//! or write a proxy or a test tool, read on.
//!
//! # A driver
//!
//! A driver moves octets, tells the time and hands out events. This is all of it:
//!
//! ```no_run
//! use std::{io::{ErrorKind, Read, Write}, net::TcpStream, time::Duration};
//!
//! use amqp_core::{Cause, Connection, Event, Instant, Uri};
//! use bytes::{Buf, BytesMut};
//!
//! fn drive(mut stream: TcpStream, uri: &Uri, mut on_event: impl FnMut(&mut Connection, Event)) -> std::io::Result<()> {
//!     let origin = std::time::Instant::now();
//!     let now = || Instant::from(origin.elapsed());
//!     let mut connection = Connection::new(uri.config(), now());
//!     let (mut input, mut buffer) = (BytesMut::new(), [0; 65536]);
//!     loop {
//!         while connection.wants_write() {
//!             let written = stream.write(connection.outbox().chunk())?;
//!             connection.outbox().advance(written);
//!         }
//!         if connection.is_closed() {
//!             return Ok(());
//!         }
//!         let wait = connection.poll_timeout().map(|at| at.saturating_duration_since(now()));
//!         stream.set_read_timeout(wait.map(|wait| wait.max(Duration::from_millis(1))))?;
//!         match stream.read(&mut buffer) {
//!             Ok(0) => connection.disconnected(Cause::end_of_stream(), now()),
//!             Ok(count) => {
//!                 input.extend_from_slice(&buffer[..count]);
//!                 connection.receive(&mut input, now());
//!             }
//!             Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
//!             Err(error) => connection.disconnected(Cause::from(&error), now()),
//!         }
//!         connection.handle_timeout(now());
//!         while let Some(event) = connection.poll_event() {
//!             on_event(&mut connection, event);
//!         }
//!     }
//! }
//! ```
//!
//! # The program above it
//!
//! After [`Event::Opened`], [`Connection::open_channel`] gives a [`ChannelId`], and [`Connection::channel`] the
//! [`Channel`] to work with. Requests are values of [`method`]; whether the broker answers one is part of its type:
//!
//! | | takes | gives |
//! | --- | --- | --- |
//! | [`Channel::call`] | a [`Request`](method::Request): the broker answers | a [`Pending`], the claim to an [`Event::Answer`] |
//! | [`Channel::send`] | a [`OneWay`](method::OneWay) method: nobody answers | nothing; if it fails, the channel does, later |
//! | [`Channel::publish`] | a [`Publish`] | a [`Receipt`] |
//! | [`Channel::get`], [`Channel::consume`], [`Channel::close`] | | a [`Pending`] |
//!
//! A command is all or nothing: if it returns an error, nothing was sent and nothing has changed.
//!
//! # Errors
//!
//! An error of an operation that has an answer *is* its answer. An error of one that has none closes its channel some
//! time later: it answers every call that waits on the channel, is announced by [`Event::ChannelClosed`], and is
//! returned by every later operation on the channel. An error of the connection does the same to all channels and ends
//! with [`Event::Closed`], the last event there is. [`Error`] says on its first level who is to blame.
//!
//! # Limits
//!
//! Nothing is allocated because the peer announces it, nothing recurses deeper than a constant, and every queue has a
//! limit in [`Config`]. A driver stops reading while [`Connection::wants_read`] is false; publishing fails with
//! [`Error::WouldBlock`] while too much is queued.
//!
//! # Features
//!
//! The crate is `no_std` and needs `alloc`. The feature `std`, on by default, adds conversions from `std::io::Error` and
//! vectored writes from the [`Outbox`].
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod channel_id;
pub mod config;
pub mod connection;
pub mod error;
pub mod frame;
mod message;
pub mod method;
pub mod sasl;
mod time;
pub mod uri;
pub mod wire;

pub use self::{
    channel_id::ChannelId,
    config::{Config, Tuning},
    connection::{Answer, CallId, Channel, Connection, Event, Outbox, Outcome, Pending, Receipt, Settled},
    error::{Cause, ChannelError, Close, ConnectionError, Culprit, Error, Violation},
    message::{Delivery, Got, Message, Payload, Publish, Returned},
    time::Instant,
    uri::Uri,
    wire::{Malformed, Misuse},
};
