//! What is published: borrowed names, and a body that is copied when small and shared when large.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;

use crate::method::Properties;

/// A message to be published, with where it goes (class `basic`, method `publish`).
///
/// ```
/// use amqp_core::{Publish, method::Properties};
///
/// let properties = Properties::new().content_type("text/plain").message_id("42");
/// let publish = Publish::new("logs", "app.start").body("started").properties(&properties).persistent();
/// ```
#[derive(Clone, Debug)]
#[must_use = "a message is published by the channel's publish()"]
pub struct Publish<'a> {
    pub(crate) exchange: &'a [u8],
    pub(crate) routing_key: &'a [u8],
    pub(crate) mandatory: bool,
    pub(crate) persistent: bool,
    pub(crate) properties: Option<&'a Properties>,
    pub(crate) body: Payload<'a>,
}

impl<'a> Publish<'a> {
    /// A message without a body, for this exchange (the empty name is the default exchange, which routes to the queue
    /// whose name is the routing key). Both names take up to 255 octets.
    pub fn new<E, K>(exchange: &'a E, routing_key: &'a K) -> Self
    where
        E: AsRef<[u8]> + ?Sized,
        K: AsRef<[u8]> + ?Sized,
    {
        Self {
            exchange: exchange.as_ref(),
            routing_key: routing_key.as_ref(),
            mandatory: false,
            persistent: false,
            properties: None,
            body: Payload::Borrowed(&[]),
        }
    }

    /// Sets the body. A slice is copied; `Vec`, `String` and [`Bytes`] are sent without a copy when they are large.
    pub fn body(mut self, body: impl Into<Payload<'a>>) -> Self {
        self.body = body.into();
        self
    }

    /// Asks for the message back, as a [`Returned`](crate::Returned), if it reaches no queue.
    pub fn mandatory(mut self) -> Self {
        self.mandatory = true;
        self
    }

    /// Has durable queues write the message to disk: delivery mode 2, whatever the properties say.
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Sets the properties.
    pub fn properties(mut self, properties: &'a Properties) -> Self {
        self.properties = Some(properties);
        self
    }
}

/// The octets of a body on their way out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Payload<'a> {
    /// Copied when published.
    Borrowed(&'a [u8]),
    /// Shared when large, copied when that is cheaper.
    Shared(Bytes),
}

impl Payload<'_> {
    /// The size in octets.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// True for an empty body.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(octets) => octets,
            Self::Shared(octets) => octets,
        }
    }

    pub(crate) fn into_shared(self) -> Bytes {
        match self {
            Self::Borrowed(octets) => Bytes::copy_from_slice(octets),
            Self::Shared(octets) => octets,
        }
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(octets: &'a [u8]) -> Self {
        Self::Borrowed(octets)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(octets: &'a [u8; N]) -> Self {
        Self::Borrowed(octets)
    }
}

impl<'a> From<&'a str> for Payload<'a> {
    fn from(text: &'a str) -> Self {
        Self::Borrowed(text.as_bytes())
    }
}

impl<'a> From<&'a String> for Payload<'a> {
    fn from(text: &'a String) -> Self {
        Self::Borrowed(text.as_bytes())
    }
}

impl<'a> From<&'a Vec<u8>> for Payload<'a> {
    fn from(octets: &'a Vec<u8>) -> Self {
        Self::Borrowed(octets)
    }
}

impl From<String> for Payload<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl From<Vec<u8>> for Payload<'_> {
    fn from(octets: Vec<u8>) -> Self {
        Self::Shared(octets.into())
    }
}

impl From<Bytes> for Payload<'_> {
    fn from(octets: Bytes) -> Self {
        Self::Shared(octets)
    }
}

impl From<&Bytes> for Payload<'_> {
    fn from(octets: &Bytes) -> Self {
        Self::Shared(octets.clone())
    }
}
