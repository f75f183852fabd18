//! The broker of an example: the one that `AMQP_URL` names, or an embedded one, so that examples run on a machine that
//! has none.

use std::{env, io};

use crate::broker::EmbeddedBroker;

/// A broker to run an example against; an embedded one stops when this is dropped.
pub struct ExampleBroker {
    uri: String,
    _embedded: Option<EmbeddedBroker>,
}

impl ExampleBroker {
    /// Takes the address from the environment variable `AMQP_URL`, or starts an embedded broker.
    ///
    /// # Errors
    ///
    /// If the embedded broker finds no port.
    pub fn start() -> io::Result<Self> {
        if let Ok(uri) = env::var("AMQP_URL") {
            return Ok(Self { uri, _embedded: None });
        }
        let embedded = EmbeddedBroker::start()?;
        Ok(Self { uri: embedded.uri(), _embedded: Some(embedded) })
    }

    /// Where it listens.
    pub fn uri(&self) -> &str {
        &self.uri
    }
}
