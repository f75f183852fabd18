//! What a client has to be sent: methods and messages, cut into frames.

use amqp_core::{
    frame::{ContentHeader, Frame},
    method::AnyMethod,
};
use bytes::{Bytes, BytesMut};

use super::message::Message;

/// The octets of a frame that are not payload.
const FRAME_OVERHEAD: usize = 8;

/// Octets on their way to a client.
#[derive(Debug, Default)]
pub(super) struct Output {
    octets: BytesMut,
    /// The largest frame in octets; 0 is no limit.
    frame_max: u32,
    /// Octets that were ever written, for the heartbeats.
    written: u64,
}

impl Output {
    /// Sets the largest frame for what comes next.
    pub(super) fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = frame_max;
    }

    /// Appends octets as they are.
    pub(super) fn raw(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
        self.written += octets.len() as u64;
    }

    /// Appends a method.
    pub(super) fn send(&mut self, channel: u16, method: impl Into<AnyMethod>) {
        // Whatever the broker says was read from a short string, or is shorter than one.
        let frame = Frame::method(channel, &method.into());
        debug_assert!(frame.is_ok(), "the broker made a method that cannot be sent: {frame:?}");
        if let Ok(frame) = frame {
            self.frame(&frame);
        }
    }

    /// Appends a method with a message. Like RabbitMQ's, the header is one frame however large it is.
    pub(super) fn send_content(&mut self, channel: u16, method: impl Into<AnyMethod>, message: &Message) {
        self.send(channel, method);
        let size = message.body.len() as u64;
        self.frame(&Frame::header(channel, &ContentHeader::with_encoded(size, message.properties.clone())));
        let most = match self.frame_max {
            0 => usize::MAX,
            frame_max => (frame_max as usize).saturating_sub(FRAME_OVERHEAD).max(1),
        };
        let mut body: Bytes = message.body.clone();
        while !body.is_empty() {
            let part = body.split_to(most.min(body.len()));
            self.frame(&Frame::body(channel, part));
        }
    }

    /// Appends a heartbeat.
    pub(super) fn heartbeat(&mut self) {
        self.frame(&Frame::heartbeat());
    }

    /// Takes everything.
    pub(super) fn take(&mut self) -> BytesMut {
        self.octets.split()
    }

    /// How many octets wait.
    pub(super) fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// How many octets were ever written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    fn frame(&mut self, frame: &Frame) {
        let before = self.octets.len();
        frame.encode(&mut self.octets);
        self.written += (self.octets.len() - before) as u64;
    }
}
