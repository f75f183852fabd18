//! What time does to a connection: deadlines of calls, heartbeats both ways, output that does not leave.

use core::time::Duration;

use bytes::BytesMut;

use super::{Connection, timers::Timer};
use crate::{error::ConnectionError, frame::Frame};

/// Time.
impl Connection {
    pub(super) fn tell_time(&mut self, now: crate::Instant) {
        self.timers.advance(now);
        for (call, channel) in self.timers.take_undated() {
            let at = self.timers.now().saturating_add(self.config.call_timeout);
            if let Some(waiting) = self.slots.get_mut(channel).and_then(|state| state.call_mut(call)) {
                waiting.deadline = Some(at);
                self.timers.date_call(call, channel, at);
            }
        }
    }

    /// The limits are agreed: from here on RabbitMQ wants to hear something.
    pub(super) fn start_heartbeats(&mut self) {
        if self.tuning.heartbeat > 0 {
            self.timers.set(Timer::SendHeartbeat, self.heartbeats(0.25));
        }
    }

    /// The connection is open: from here on we want to hear something too.
    pub(super) fn start_watching(&mut self) {
        if self.tuning.heartbeat > 0 {
            self.timers.set(Timer::ExpectHeartbeat, self.heartbeats(2.0));
        }
        self.expect_output();
    }

    /// Gives output the whole time to leave, from now on.
    pub(super) fn expect_output(&mut self) {
        self.stalled_at = None;
        self.timers.set(Timer::Write, self.config.write_timeout);
    }

    /// That many heartbeat intervals.
    pub(super) fn heartbeats(&self, count: f32) -> Duration {
        Duration::from_secs(self.tuning.heartbeat.into()).mul_f32(count)
    }

    pub(super) fn timer_expired(&mut self, timer: Timer, late: Duration) {
        match timer {
            Timer::Handshake => {
                let (stage, after) = (self.phase.stage(), self.config.handshake_timeout);
                self.end(ConnectionError::HandshakeTimeout { stage, after });
            }
            Timer::Close => self.end(ConnectionError::CloseTimeout { after: self.config.close_timeout }),
            Timer::SendHeartbeat => self.send_heartbeat(),
            Timer::ExpectHeartbeat => self.expect_heartbeat(late),
            Timer::Write => self.expect_progress(),
        }
    }

    /// Looked at four times an interval, so that the broker hears something at least twice in it.
    fn send_heartbeat(&mut self) {
        let written = self.output.written();
        if written == self.written && self.output.is_empty() {
            let mut frame = BytesMut::new();
            Frame::heartbeat().encode(&mut frame);
            self.output.write_raw(&frame);
        }
        self.written = written;
        self.timers.set(Timer::SendHeartbeat, self.heartbeats(0.25));
    }

    fn expect_heartbeat(&mut self, late: Duration) {
        let silence = self.timers.now().saturating_duration_since(self.heard_at);
        let patience = self.heartbeats(2.0);
        if self.reading_paused {
            self.timers.set(Timer::ExpectHeartbeat, patience);
        } else if silence < patience {
            self.timers.set(Timer::ExpectHeartbeat, patience.saturating_sub(silence));
        } else if late > self.heartbeats(1.0) {
            // This process was asleep itself: read before judging.
            self.timers.set(Timer::ExpectHeartbeat, self.heartbeats(0.25));
        } else {
            self.end(ConnectionError::HeartbeatMissed { after: silence });
        }
    }

    /// What was queued at the last look must have begun to leave. A broker that has blocked us may take nothing.
    fn expect_progress(&mut self) {
        let (written, after) = (self.output.progress(), self.config.write_timeout);
        if self.stalled_at == Some(written) && !self.blocked {
            return self.end(ConnectionError::WriteStalled { after });
        }
        self.stalled_at = (self.output.is_waiting() && !self.blocked).then_some(written);
        self.timers.set(Timer::Write, after);
    }
}
