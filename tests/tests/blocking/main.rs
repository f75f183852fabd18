//! The blocking adapter over the embedded broker, a real RabbitMQ, and scripted peers that do what no broker does.
//!
//! One program, so that all of it shares one RabbitMQ node. Every wait has a deadline: a hang is a failure.
#![cfg(unix)] // the node runs there

mod bodies;
mod calls;
mod closing;
mod confirms;
mod connecting;
mod consumer_ends;
mod consumers;
mod deadlines;
mod faults;
mod hard_faults;
mod loss;
mod overload;
mod peer;
mod pipe;
mod scopes;
mod settling;
mod support;
mod transactions;
mod workers;
