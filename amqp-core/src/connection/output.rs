//! What is queued for the broker, and in which order it leaves.
//!
//! Small frames go straight into the [`Outbox`]. A large message waits in its channel's *lane* and leaves one body
//! frame at a time, lanes taking turns, so that it delays neither heartbeats and acknowledgements nor the messages of
//! other channels. Within one channel order is kept: while a channel has a lane, all its frames go through it, and a
//! message is a unit that nothing of its channel comes between.
//!
//! A unit may have to wait for the answer to an earlier call; its lane stands still until then.

use alloc::{collections::VecDeque, vec::Vec};

use bytes::{BufMut, Bytes, BytesMut};

use super::{outbox::Outbox, pending::CallId};
use crate::{
    frame::{FRAME_END, FRAME_OVERHEAD, FrameKind},
    wire::{Misuse, Writer},
};

/// How much of the lanes is moved to the outbox at a time. What is there can no longer be overtaken, so this bounds
/// how long a heartbeat waits; below it a `writev` of many large bodies gathers too little.
const STAGE: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Output {
    outbox: Outbox,
    /// An emptied outbox that the driver gave back: its buffer is used again.
    spare: Option<Outbox>,
    /// Channels with something queued, in the order of their turns.
    lanes: VecDeque<Lane>,
    lane_octets: usize,
    /// What leaves when everything else has: the close of the connection.
    last: Option<Bytes>,
    /// The largest body frame payload.
    body_max: usize,
    /// Octets taken out in whole outboxes.
    taken: u64,
    /// Octets of a taken outbox that have not been written, as far as the driver has said.
    in_flight: usize,
    /// Octets of taken outboxes that have been written.
    wrote: u64,
}

#[derive(Debug)]
struct Lane {
    channel: u16,
    units: VecDeque<Unit>,
}

/// Frames of one channel that belong together.
#[derive(Debug)]
struct Unit {
    /// Calls that must be answered before this may leave.
    after: Vec<CallId>,
    /// Frames that are complete as they are; empty once they have left.
    head: Bytes,
    /// What is left of a body that is still to be cut into frames.
    body: Bytes,
}

impl Unit {
    fn octets(&self) -> usize {
        self.head.len().saturating_add(self.body.len())
    }

    /// Whether a part has left. Every unit has a head, which leaves first.
    fn has_started(&self) -> bool {
        self.head.is_empty()
    }
}

impl Output {
    pub(super) fn new(body_max: usize) -> Self {
        Self {
            outbox: Outbox::default(),
            spare: None,
            lanes: VecDeque::new(),
            lane_octets: 0,
            last: None,
            body_max,
            taken: 0,
            in_flight: 0,
            wrote: 0,
        }
    }

    pub(super) fn set_body_max(&mut self, body_max: usize) {
        self.body_max = body_max;
    }

    pub(super) fn body_max(&self) -> usize {
        self.body_max
    }

    /// Queues octets that belong to no channel.
    pub(super) fn write_raw(&mut self, octets: &[u8]) {
        self.outbox.flat.extend_from_slice(octets);
    }

    /// Queues what `frames` writes, behind everything of this channel and not before `after` are answered.
    #[inline]
    pub(super) fn write(
        &mut self,
        channel: u16,
        after: &[CallId],
        frames: impl FnOnce(&mut Writer<'_>) -> Result<(), Misuse>,
    ) -> Result<(), Misuse> {
        if after.is_empty() && !self.has_lane(channel) {
            let mut writer = Writer::new(&mut self.outbox.flat);
            frames(&mut writer)?;
            writer.commit();
            Ok(())
        } else {
            self.write_message(channel, after, frames, Bytes::new())
        }
    }

    /// As [`write`](Self::write), followed by a body that is cut into frames as it leaves.
    pub(super) fn write_message(
        &mut self,
        channel: u16,
        after: &[CallId],
        frames: impl FnOnce(&mut Writer<'_>) -> Result<(), Misuse>,
        body: Bytes,
    ) -> Result<(), Misuse> {
        let mut head = BytesMut::new();
        let mut writer = Writer::new(&mut head);
        frames(&mut writer)?;
        writer.commit();
        self.queue(channel, Unit { after: after.to_vec(), head: head.freeze(), body });
        Ok(())
    }

    /// Lets go of what waits for the answer to this call.
    pub(super) fn answered(&mut self, channel: u16, call: CallId) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.channel == channel) {
            for unit in &mut lane.units {
                unit.after.retain(|waited_for| *waited_for != call);
            }
        }
    }

    /// Drops what is queued for a channel, and tells whether there was anything. A message of which a part has left
    /// stays: RabbitMQ 3.10 ends the connection with a 505 if anything else follows that part, a close-ok included.
    pub(super) fn purge(&mut self, channel: u16) -> bool {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.channel == channel) else { return false };
        let kept = usize::from(lane.units.front().is_some_and(Unit::has_started));
        let dropped = lane.units.len() > kept;
        lane.units.truncate(kept);
        self.lanes.retain(|lane| !lane.units.is_empty());
        self.count_lanes();
        dropped
    }

    /// Drops everything that has not started to leave.
    pub(super) fn purge_all(&mut self) {
        self.lanes.clear();
        self.lane_octets = 0;
        self.last = None;
    }

    /// Queues the last frame, to leave when everything has that waits for no answer.
    pub(super) fn finish(&mut self, frame: Bytes) {
        for lane in &mut self.lanes {
            let leaving = lane.units.iter().take_while(|unit| unit.after.is_empty()).count();
            lane.units.truncate(leaving);
        }
        self.lanes.retain(|lane| !lane.units.is_empty());
        self.count_lanes();
        self.last = Some(frame);
    }

    /// How many octets are queued.
    pub(super) fn octets(&self) -> usize {
        self.outbox.len().saturating_add(self.lane_octets)
    }

    /// Whether anything can be written now.
    pub(super) fn is_empty(&self) -> bool {
        self.outbox.is_empty() && self.last.is_none() && !self.lanes.iter().any(Lane::may_leave)
    }

    /// How many octets have left so far.
    pub(super) fn written(&self) -> u64 {
        self.taken.saturating_add(self.outbox.advanced())
    }

    /// How much the transport has taken so far.
    pub(super) fn progress(&self) -> u64 {
        self.wrote.saturating_add(self.outbox.advanced())
    }

    /// Whether the transport still has to take something.
    pub(super) fn is_waiting(&self) -> bool {
        self.in_flight > 0 || !self.is_empty()
    }

    /// So many octets of a taken outbox have been written.
    pub(super) fn wrote(&mut self, octets: usize) {
        self.in_flight = self.in_flight.saturating_sub(octets);
        self.wrote = self.wrote.saturating_add(octets as u64);
    }

    /// The outbox, filled from the lanes.
    pub(super) fn outbox(&mut self) -> &mut Outbox {
        self.stage();
        &mut self.outbox
    }

    /// Takes the outbox out, filled from the lanes.
    pub(super) fn take(&mut self) -> Outbox {
        self.stage();
        let fresh = self.spare.take().unwrap_or_default();
        self.in_flight = self.in_flight.saturating_add(self.outbox.len());
        self.wrote = self.wrote.saturating_add(self.outbox.advanced()).saturating_sub(fresh.advanced());
        self.taken = self.written().saturating_add(self.outbox.len() as u64).saturating_sub(fresh.advanced());
        core::mem::replace(&mut self.outbox, fresh)
    }

    /// Keeps an emptied outbox for its buffer.
    pub(super) fn recycle(&mut self, mut emptied: Outbox) {
        self.wrote(self.in_flight);
        emptied.reset();
        self.spare = Some(emptied);
    }

    fn has_lane(&self, channel: u16) -> bool {
        !self.lanes.is_empty() && self.lanes.iter().any(|lane| lane.channel == channel)
    }

    fn queue(&mut self, channel: u16, unit: Unit) {
        self.lane_octets = self.lane_octets.saturating_add(unit.octets());
        match self.lanes.iter_mut().find(|lane| lane.channel == channel) {
            Some(lane) => lane.units.push_back(unit),
            None => self.lanes.push_back(Lane { channel, units: VecDeque::from([unit]) }),
        }
    }

    fn count_lanes(&mut self) {
        let units = self.lanes.iter().flat_map(|lane| &lane.units);
        self.lane_octets = units.fold(0, |octets, unit| octets.saturating_add(unit.octets()));
    }

    /// Moves frames from the lanes to the outbox, one from each in turn, until there is enough for a write.
    fn stage(&mut self) {
        let mut standing_still = 0;
        while self.outbox.len() < STAGE && standing_still < self.lanes.len() {
            let Some(mut lane) = self.lanes.pop_front() else { break };
            let moved = lane.step(&mut self.outbox, self.body_max);
            self.lane_octets = self.lane_octets.saturating_sub(moved);
            standing_still = if moved == 0 { standing_still.saturating_add(1) } else { 0 };
            if !lane.units.is_empty() {
                self.lanes.push_back(lane);
            }
        }
        if self.lanes.is_empty()
            && let Some(frame) = self.last.take()
        {
            self.outbox.flat.extend_from_slice(&frame);
        }
    }
}

impl Lane {
    fn may_leave(&self) -> bool {
        self.units.front().is_some_and(|unit| unit.after.is_empty())
    }

    /// Moves the head of the first unit or one frame of its body; gives the octets moved.
    fn step(&mut self, outbox: &mut Outbox, body_max: usize) -> usize {
        let Some(unit) = self.units.front_mut().filter(|unit| unit.after.is_empty()) else { return 0 };
        let head = core::mem::take(&mut unit.head);
        outbox.flat.extend_from_slice(&head);
        let part = unit.body.split_to(unit.body.len().min(body_max));
        let moved = head.len().saturating_add(part.len());
        if !part.is_empty() {
            write_frame_start(&mut outbox.flat, FrameKind::Body, self.channel, part.len());
            outbox.append(part);
            outbox.flat.put_u8(FRAME_END);
        }
        if unit.body.is_empty() {
            self.units.pop_front();
        }
        moved
    }
}

/// Writes the seven octets in front of a payload.
fn write_frame_start(out: &mut BytesMut, kind: FrameKind, channel: u16, payload: usize) {
    out.put_u8(kind as u8);
    out.put_u16(channel);
    // Payloads are cut to the agreed frame_max, which is a 32-bit number.
    out.put_u32(u32::try_from(payload).unwrap_or(u32::MAX));
}

/// Writes a frame around what `payload` writes; `limit` is the agreed `frame_max`.
pub(super) fn write_frame(
    writer: &mut Writer<'_>,
    kind: FrameKind,
    channel: u16,
    limit: usize,
    payload: impl FnOnce(&mut Writer<'_>) -> Result<(), Misuse>,
) -> Result<(), Misuse> {
    writer.octet(kind as u8);
    writer.short(channel);
    let size = writer.counted(payload)?.saturating_add(FRAME_OVERHEAD);
    writer.octet(FRAME_END);
    if size > limit { Err(Misuse::FrameTooLarge { size, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use alloc::{string::String, vec};

    use bytes::Buf;

    use super::*;

    const CALL: CallId = CallId(1);

    fn text(output: &mut Output, channel: u16, after: &[CallId], text: &str) {
        let write = |writer: &mut Writer<'_>| {
            writer.octets(text.as_bytes());
            Ok(())
        };
        output.write(channel, after, write).unwrap();
    }

    fn body(output: &mut Output, channel: u16, text: &'static str) {
        let head = |writer: &mut Writer<'_>| {
            writer.octet(b'#');
            Ok(())
        };
        output.write_message(channel, &[], head, Bytes::from_static(text.as_bytes())).unwrap();
    }

    /// All that can leave, body frames shown as `channel:payload`.
    fn leaving(output: &mut Output) -> String {
        let mut taken = output.take();
        let mut octets = taken.copy_to_bytes(taken.len()).to_vec();
        let mut shown = String::new();
        while let Some(first) = octets.first().copied() {
            let size = if first == 3 { usize::from(octets[6]) + 8 } else { 1 };
            let rest = octets.split_off(size);
            match first {
                3 => {
                    let text = String::from_utf8_lossy(&octets[7..size - 1]);
                    shown.push_str(&alloc::format!(" {}:{text} ", octets[2]));
                }
                octet => shown.push(char::from(octet)),
            }
            octets = rest;
        }
        shown
    }

    #[test]
    fn lanes_take_turns_and_small_frames_of_other_channels_overtake() {
        let mut output = Output::new(2);
        body(&mut output, 1, "aabbcc");
        body(&mut output, 2, "xxyy");
        text(&mut output, 3, &[], "!");
        text(&mut output, 1, &[], "?");
        assert_eq!(leaving(&mut output), "!# 1:aa # 2:xx  1:bb  2:yy  1:cc ?");
        assert_eq!((output.octets(), output.is_empty()), (0, true));
    }

    #[test]
    fn what_waits_for_an_answer_holds_its_channel_only() {
        let mut output = Output::new(2);
        text(&mut output, 1, &[CALL], "a");
        text(&mut output, 1, &[], "b");
        text(&mut output, 2, &[], "c");
        assert_eq!(leaving(&mut output), "c");
        assert!(output.is_empty() && output.octets() > 0);
        output.answered(1, CALL);
        assert_eq!(leaving(&mut output), "ab");
    }

    #[test]
    fn the_last_frame_waits_for_the_lanes() {
        let mut output = Output::new(2);
        body(&mut output, 1, "aabb");
        text(&mut output, 2, &[CALL], "never");
        output.finish(Bytes::from_static(b"."));
        assert_eq!(leaving(&mut output), "# 1:aa  1:bb .");
    }

    #[test]
    fn a_purged_channel_leaves_the_others() {
        let mut output = Output::new(2);
        body(&mut output, 1, "aa");
        body(&mut output, 2, "bb");
        assert!(output.purge(1));
        assert!(!output.purge(3));
        assert_eq!(output.octets(), 3);
        assert_eq!(leaving(&mut output), "# 2:bb ");
    }

    #[test]
    fn a_message_that_has_started_to_leave_is_finished() {
        let mut output = Output::new(STAGE);
        let large = Bytes::from(vec![7; 2 * STAGE]);
        let head = |writer: &mut Writer<'_>| {
            writer.octet(b'#');
            Ok(())
        };
        output.write_message(1, &[], head, large).unwrap();
        text(&mut output, 1, &[], "dropped");
        let mut left = output.take().len();
        assert!(output.purge(1));
        assert!(!output.purge(1));
        text(&mut output, 1, &[], "close-ok");
        while !output.is_empty() {
            left += output.take().len();
        }
        assert_eq!(left, 1 + 2 * (STAGE + FRAME_OVERHEAD) + "close-ok".len());
    }

    #[test]
    fn a_stage_is_bounded_and_nothing_is_copied() {
        let mut output = Output::new(128 * 1024);
        let large = Bytes::from(vec![7; 1024 * 1024]);
        output.write_message(1, &[], |_| Ok(()), large.clone()).unwrap();
        let staged = output.take();
        assert!(staged.len() <= STAGE + 128 * 1024 + 16);
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        assert!(staged.chunks_vectored(&mut slices) >= 3);
        assert_eq!(slices[1].as_ptr(), large.as_ptr());
    }
}
