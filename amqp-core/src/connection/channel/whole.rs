//! The hot path of a consumer: a delivery whose three frames lie whole in what was read.
//!
//! Small messages arrive like this, many in one read. Their layout is fixed, so it is read directly and not through
//! nom, and the message keeps two slices of the read where one for each frame would be three. Whatever has another
//! shape is left alone, to be taken frame by frame: that finds what is wrong with it. Nothing is refused here.

use bytes::Bytes;

use super::{Channel, Life};
use crate::{
    connection::event::Event,
    frame::{FRAME_END, FRAME_HEADER_SIZE, FRAME_OVERHEAD, FrameKind},
    message::{Deliver, Delivery, Message},
};

/// Class and method of `basic.deliver`.
const DELIVER: [u8; 4] = [0, 60, 0, 60];
/// What stands in front of the body size in a content header: the class, and no weight.
const CONTENT: [u8; 4] = [0, 60, 0, 0];
/// The octets of a content header in front of the property flags.
const CONTENT_SIZE: usize = 12;

/// A delivery as it lies in what was read.
pub(in crate::connection) struct Whole<'a> {
    /// The number of its channel.
    pub(in crate::connection) number: u16,
    method: &'a [u8],
    header: &'a [u8],
    body: &'a [u8],
}

impl<'a> Whole<'a> {
    /// The delivery at the start of `octets`, if a whole one is there.
    #[inline]
    pub(in crate::connection) fn read(octets: &'a [u8]) -> Option<Self> {
        let (number, method, octets) = frame(octets, FrameKind::Method)?;
        if !method.starts_with(&DELIVER) {
            return None;
        }
        let (header_number, header, octets) = frame(octets, FrameKind::Header)?;
        let (body_number, body, _) = frame(octets, FrameKind::Body)?;
        let size = header.strip_prefix(&CONTENT)?.first_chunk().copied().map(u64::from_be_bytes)?;
        let properties = header.len().saturating_sub(CONTENT_SIZE);
        // No body frame belongs to an empty body.
        let is_whole =
            size == body.len() as u64 && size > 0 && properties >= 2 && [header_number, body_number] == [number; 2];
        is_whole.then_some(Self { number, method, header, body })
    }
}

impl Channel<'_> {
    /// Takes the delivery that starts at `at` in `chunk`; gives where the next frame starts.
    #[inline]
    pub(in crate::connection) fn receive_whole(
        &mut self,
        chunk: &Bytes,
        at: usize,
        whole: &Whole<'_>,
    ) -> Option<usize> {
        if matches!(self.state.life, Life::Closing | Life::Closed) || !self.state.assembly.is_idle() {
            return None;
        }
        let method = Deliver::read(whole.method).ok()?;
        let consumers = &self.state.consumers;
        let consumer = consumers.iter().find(|consumer| consumer.tag.as_short_str() == method.consumer_tag)?;
        if consumer.orphan || whole.body.len() > self.shared.limits.message_size {
            return None;
        }
        let start = at.saturating_add(FRAME_HEADER_SIZE);
        let header_start = start.saturating_add(whole.method.len()).saturating_add(FRAME_OVERHEAD);
        let header_end = header_start.saturating_add(whole.header.len());
        let body_start = header_end.saturating_add(FRAME_OVERHEAD);
        let body_end = body_start.saturating_add(whole.body.len());
        let (frames, body) = (chunk.slice(start..header_end), chunk.slice(body_start..body_end));
        let properties = whole.header.len().saturating_sub(CONTENT_SIZE);
        let message = Message::delivered(self.state.id, &method, frames, properties, body);
        self.shared.events.push(Event::Delivery(Delivery::new(message, consumer.no_ack)));
        Some(body_end.saturating_add(1))
    }
}

/// The frame at the start of `octets`: its channel, its payload, and what comes behind it. Its size was checked when
/// the read was cut into whole frames.
#[inline]
fn frame(octets: &[u8], expected: FrameKind) -> Option<(u16, &[u8], &[u8])> {
    let (&[kind, high, low, a, b, c, d], octets) = octets.split_first_chunk()?;
    let size = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    let (payload, octets) = octets.split_at_checked(size)?;
    let (&end, octets) = octets.split_first()?;
    (kind == expected as u8 && end == FRAME_END).then_some((u16::from_be_bytes([high, low]), payload, octets))
}
