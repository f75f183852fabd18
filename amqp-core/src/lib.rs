//! AMQP 0-9-1 as RabbitMQ speaks it, as one pure state machine.
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
    connection::{Answer, CallId, Channel, Confirm, Connection, Event, Outbox, Pending, Receipt},
    error::{Cause, ChannelError, Close, ConnectionError, Error, Violation},
    message::{Delivery, Got, Message, Payload, Publish, Returned},
    time::Instant,
    uri::Uri,
    wire::{Malformed, Misuse},
};
