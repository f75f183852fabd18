//! What the suites stand on: brokers to test against. Not published; the embedded broker is used by the examples too.

#[cfg(unix)]
pub mod rabbitmq;
