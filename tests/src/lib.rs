//! What the suites stand on: brokers to test against. Not published; the embedded broker is used by the examples too.

pub mod broker;
#[cfg(unix)]
pub mod brokers;
pub mod example;
#[cfg(unix)]
pub mod rabbitmq;
