//! Messages: what is published, and what comes from the broker.
//!
//! A received message keeps its arguments, properties and body as slices of the buffer they were read into and
//! decodes them on demand, so what a third party published is an error of the accessor that meets it, never of the
//! connection. A message kept for long keeps its buffer: [`Message::detach`] copies it out.

mod publish;
mod received;

pub(crate) use self::received::{Deliver, Envelope};
pub use self::{
    publish::{Payload, Publish},
    received::{Delivery, Got, Message, Returned},
};
