//! Putting methods and messages together from the frames of one channel, and the errors of those that do not fit.
//!
//! ```text
//!            method without content                     header, size 0
//!           ┌─────────┐                    ┌──────────────────────────────────┐
//!           ▼         │                    ▼                                  │
//!          Idle ──────┴── with content ─► (method) ── header ─► (body) ── the last octet ─► Idle
//! ```
//!
//! A body that outgrows its header is swallowed without end, as RabbitMQ 3.10 does it: the error comes with the next
//! frame that is no body.

use amqp_core::{
    Violation,
    frame::{ContentHeader, Frame, FrameKind},
    method::{AnyMethod, Method, MethodId, basic},
    wire::{Malformed, ShortString, Table},
};
use bytes::{Bytes, BytesMut};

use super::{
    super::{
        fault::Fault,
        message::{self, MAX_BODY},
    },
    Failure,
};

/// The smallest content header: class, weight, size of the body and property flags.
const HEADER_SIZE: usize = 14;

/// What has come so far.
#[derive(Debug, Default)]
pub(super) enum Assembly {
    /// Nothing: a method is due.
    #[default]
    Idle,
    /// A method whose content header is due.
    Method(AnyMethod),
    /// A method and a header whose body is not complete.
    Body { method: AnyMethod, header: ContentHeader, received: u64, body: BytesMut },
}

/// A method, with its content if it has any.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) method: AnyMethod,
    pub(super) content: Option<Content>,
}

/// What followed a method.
#[derive(Debug)]
pub(super) struct Content {
    /// Property flags and properties, not decoded.
    pub(super) properties: Bytes,
    /// The announced size of the body in octets.
    pub(super) size: u64,
    /// The body; nothing if it is larger than what is stored.
    pub(super) body: Bytes,
}

impl Assembly {
    /// Takes the next frame, and gives the method that it completes.
    pub(super) fn receive(&mut self, frame: &Frame) -> Result<Option<Command>, Failure> {
        if frame.kind == FrameKind::Header && frame.payload.len() < HEADER_SIZE {
            let fault = Fault::bad_frame(FrameKind::Header as u8, &frame.payload, "unknown_frame");
            return Err(Failure { fault, blamed: None });
        }
        match std::mem::take(self) {
            Self::Idle => self.begin(frame),
            Self::Method(method) => self.header(method, frame),
            Self::Body { method, header, received, body } => self.body(method, header, received, body, frame),
        }
    }

    fn begin(&mut self, frame: &Frame) -> Result<Option<Command>, Failure> {
        if frame.kind != FrameKind::Method {
            let fault = Fault::stray_frame("expected method frame, got non method frame instead");
            return Err(Failure { fault, blamed: None });
        }
        let method = decode_method(frame)?;
        if has_content(&method) {
            *self = Self::Method(method);
            return Ok(None);
        }
        Ok(Some(Command { method, content: None }))
    }

    fn header(&mut self, method: AnyMethod, frame: &Frame) -> Result<Option<Command>, Failure> {
        let id = method.id();
        let unexpected = |got: String| {
            let words = format!("expected content header for class {}, got {got} instead", id.class);
            Err(Failure::of(Fault::unexpected_frame(words), id))
        };
        if frame.kind != FrameKind::Header {
            return unexpected("non content header frame".to_owned());
        }
        match frame.decode_header() {
            Ok(header) if header.class_id != id.class => unexpected(format!("one for class {}", header.class_id)),
            Ok(header) if header.body_size == 0 => Ok(Some(complete(method, header, Bytes::new()))),
            Ok(header) => {
                *self = Self::Body { method, header, received: 0, body: BytesMut::new() };
                Ok(None)
            }
            // A weight.
            Err(_) => unexpected("non content header frame".to_owned()),
        }
    }

    fn body(
        &mut self,
        method: AnyMethod,
        header: ContentHeader,
        received: u64,
        mut body: BytesMut,
        frame: &Frame,
    ) -> Result<Option<Command>, Failure> {
        if frame.kind != FrameKind::Body {
            let fault = Fault::unexpected_frame("expected content body, got non content body frame instead");
            return Err(Failure::of(fault, method.id()));
        }
        let received = received.saturating_add(frame.payload.len() as u64);
        // What is too large to be taken is read to its end and not stored.
        if header.body_size <= MAX_BODY && received <= header.body_size {
            body.extend_from_slice(&frame.payload);
        }
        if received == header.body_size {
            return Ok(Some(complete(method, header, body.freeze())));
        }
        *self = Self::Body { method, header, received, body };
        Ok(None)
    }
}

fn complete(method: AnyMethod, header: ContentHeader, body: Bytes) -> Command {
    let content = Content { properties: header.properties, size: header.body_size, body };
    Command { method, content: Some(content) }
}

/// Decodes a method frame of a channel.
pub(super) fn decode_method(frame: &Frame) -> Result<AnyMethod, Failure> {
    let payload = &frame.payload;
    let &[class_high, class_low, method_high, method_low, ref arguments @ ..] = &payload[..] else {
        let fault = Fault::bad_frame(FrameKind::Method as u8, payload, "unknown_frame");
        return Err(Failure { fault, blamed: None });
    };
    let class = u16::from_be_bytes([class_high, class_low]);
    let id = MethodId::new(class, u16::from_be_bytes([method_high, method_low]));
    let method = frame.decode_method().map_err(|violation| match violation {
        Violation::Malformed { error: Malformed::Truncated | Malformed::TrailingOctets, .. } => {
            Failure::of(Fault::undecodable(arguments), id)
        }
        // A method that does not exist, or a table of unknown types: RabbitMQ's reader crashes.
        _ => Failure { fault: Fault::Crash, blamed: None },
    })?;
    if !has_content(&method) && !texts(&method).into_iter().all(|text| text.as_str().is_ok()) {
        return Err(Failure { fault: Fault::not_utf8(), blamed: None });
    }
    if arguments_of(&method).is_some_and(|table| table.iter().any(|(_, value)| !message::is_finite(value))) {
        return Err(Failure { fault: Fault::Crash, blamed: None });
    }
    Ok(method)
}

fn has_content(method: &AnyMethod) -> bool {
    let id = method.id();
    id == basic::Publish::ID || id == basic::Return::ID || id == basic::Deliver::ID || id == basic::GetOk::ID
}

/// The short strings of a method, which have to be UTF-8 unless a message goes with them.
fn texts(method: &AnyMethod) -> Vec<&ShortString> {
    match method {
        AnyMethod::ExchangeDeclare(method) => vec![&method.exchange, &method.kind],
        AnyMethod::ExchangeDelete(method) => vec![&method.exchange],
        AnyMethod::ExchangeBind(method) => vec![&method.destination, &method.source, &method.routing_key],
        AnyMethod::ExchangeUnbind(method) => vec![&method.destination, &method.source, &method.routing_key],
        AnyMethod::QueueDeclare(method) => vec![&method.queue],
        AnyMethod::QueueBind(method) => vec![&method.queue, &method.exchange, &method.routing_key],
        AnyMethod::QueueUnbind(method) => vec![&method.queue, &method.exchange, &method.routing_key],
        AnyMethod::QueuePurge(method) => vec![&method.queue],
        AnyMethod::QueueDelete(method) => vec![&method.queue],
        AnyMethod::BasicConsume(method) => vec![&method.queue, &method.consumer_tag],
        AnyMethod::BasicCancel(method) => vec![&method.consumer_tag],
        AnyMethod::BasicGet(method) => vec![&method.queue],
        AnyMethod::ChannelClose(method) => vec![&method.reply_text],
        _ => Vec::new(),
    }
}

fn arguments_of(method: &AnyMethod) -> Option<&Table> {
    match method {
        AnyMethod::ExchangeDeclare(method) => Some(&method.arguments),
        AnyMethod::ExchangeBind(method) => Some(&method.arguments),
        AnyMethod::ExchangeUnbind(method) => Some(&method.arguments),
        AnyMethod::QueueDeclare(method) => Some(&method.arguments),
        AnyMethod::QueueBind(method) => Some(&method.arguments),
        AnyMethod::QueueUnbind(method) => Some(&method.arguments),
        AnyMethod::BasicConsume(method) => Some(&method.arguments),
        _ => None,
    }
}
