//! Deadlines: a fixed table for the connection, and one for each call.
//!
//! Commands do not tell the time. A call's deadline starts when the driver next tells it, which
//! [`Timers::next`] makes it do at once.

use alloc::{collections::BTreeSet, vec::Vec};
use core::time::Duration;

use super::pending::CallId;
use crate::{channel_id::ChannelId, time::Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The handshake must be done.
    Handshake,
    /// Look whether a heartbeat is due: four times an interval.
    SendHeartbeat,
    /// Something must have been received.
    ExpectHeartbeat,
    /// Some output must have left.
    Write,
    /// The answer to our close must have come.
    Close,
}

impl Timer {
    const ALL: [Self; 5] = [Self::Handshake, Self::SendHeartbeat, Self::ExpectHeartbeat, Self::Write, Self::Close];
}

#[derive(Debug)]
pub(super) struct Timers {
    table: [Option<Instant>; Timer::ALL.len()],
    calls: BTreeSet<(Instant, CallId, ChannelId)>,
    undated: Vec<(CallId, ChannelId)>,
    next_call: u64,
    now: Instant,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Self {
        Self { table: [None; Timer::ALL.len()], calls: BTreeSet::new(), undated: Vec::new(), next_call: 1, now }
    }

    /// The time as it was last told.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Moves the clock on, never back.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(super) fn set(&mut self, timer: Timer, after: Duration) {
        let at = self.now.saturating_add(after);
        if let Some(entry) = self.table.get_mut(timer as usize) {
            *entry = Some(at);
        }
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        if let Some(entry) = self.table.get_mut(timer as usize) {
            *entry = None;
        }
    }

    /// Stops everything: the connection has ended.
    pub(super) fn clear(&mut self) {
        self.table = [None; Timer::ALL.len()];
        self.calls.clear();
        self.undated.clear();
    }

    /// Takes out a timer that has run out.
    pub(super) fn expired(&mut self) -> Option<(Timer, Instant)> {
        let now = self.now;
        Timer::ALL.into_iter().find_map(|timer| {
            let entry = self.table.get_mut(timer as usize)?;
            entry.take_if(|at| *at <= now).map(|at| (timer, at))
        })
    }

    /// Names a new call, whose deadline starts when the time is told next.
    pub(super) fn start_call(&mut self, channel: ChannelId) -> CallId {
        let call = CallId(self.next_call);
        self.next_call = self.next_call.wrapping_add(1);
        self.undated.push((call, channel));
        call
    }

    /// The calls that have no deadline yet.
    pub(super) fn take_undated(&mut self) -> Vec<(CallId, ChannelId)> {
        core::mem::take(&mut self.undated)
    }

    pub(super) fn date_call(&mut self, call: CallId, channel: ChannelId, at: Instant) {
        self.calls.insert((at, call, channel));
    }

    pub(super) fn end_call(&mut self, call: CallId, channel: ChannelId, deadline: Option<Instant>) {
        match deadline {
            Some(at) => {
                self.calls.remove(&(at, call, channel));
            }
            None => self.undated.retain(|undated| *undated != (call, channel)),
        }
    }

    /// Takes out a call whose deadline has passed.
    pub(super) fn expired_call(&mut self) -> Option<(CallId, ChannelId)> {
        let first = *self.calls.first().filter(|(at, ..)| *at <= self.now)?;
        self.calls.remove(&first);
        Some((first.1, first.2))
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        if !self.undated.is_empty() {
            return Some(self.now);
        }
        let calls = self.calls.first().map(|(at, ..)| *at);
        self.table.iter().copied().chain([calls]).flatten().min()
    }
}
