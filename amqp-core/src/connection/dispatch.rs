//! What comes in, and what follows from it: frames to their channel or to the phase of the connection, and the end.

use bytes::BytesMut;

use super::{
    Channel, Connection, Event,
    channel::{Shared, State, Whole, write_method},
    limits,
    phase::{Phase, Step},
    shortened,
    timers::Timer,
};
use crate::{
    channel_id::ChannelId,
    config::{Offer, Tuning},
    error::{ConnectionError, Error, Violation},
    frame::{Frame, FrameKind},
    method::{AnyMethod, connection},
    wire::{Misuse, Writer},
};

/// Input.
impl Connection {
    pub(super) fn receive_frames(&mut self, chunk: &bytes::Bytes) {
        let mut at = 0;
        while self.fault.is_none() {
            if let Some(next) = self.receive_whole(chunk, at) {
                at = next;
                continue;
            }
            match self.decoder.frame_at(chunk, at) {
                Ok(Some((frame, next))) => {
                    at = next;
                    self.dispatch(frame);
                }
                Ok(None) => return,
                Err(violation) => self.violated(violation),
            }
        }
    }

    /// Takes a delivery whose frames lie one behind the other at `at` in `chunk`; gives where the next frame starts.
    fn receive_whole(&mut self, chunk: &bytes::Bytes, at: usize) -> Option<usize> {
        let whole = Whole::read(chunk.get(at..)?)?;
        let Self { slots, output, events, timers, limits, assembling, blocked, phase: Phase::Open, .. } = self else {
            return None;
        };
        let state = slots.by_number(whole.number)?;
        let shared = Shared { output, events, timers, limits, assembling, blocked: *blocked };
        Channel { state, shared }.receive_whole(chunk, at, &whole)
    }

    pub(super) fn dispatch(&mut self, frame: Frame) {
        let number = frame.channel;
        let result = match (frame.kind, number) {
            (FrameKind::Heartbeat, _) => return,
            (FrameKind::Method, 0) => frame.decode_method().map(|method| self.receive_method(method)),
            (_, 0) => Err(Violation::ContentOrder { channel: 0 }),
            _ => self.receive_on_channel(frame),
        };
        if let Err(violation) = result {
            self.violated(violation);
        }
    }

    pub(super) fn receive_on_channel(&mut self, frame: Frame) -> Result<(), Violation> {
        let number = frame.channel;
        let Some(id) = self.slots.by_number(number).map(|state| state.id()) else {
            // A channel that was closed may have frames on their way.
            return if self.slots.was_used(number) { Ok(()) } else { Err(Violation::ChannelNotOpen(number)) };
        };
        if self.phase == Phase::Closing {
            return Ok(());
        }
        if let Ok(mut channel) = self.channel(id) {
            channel.receive(frame)?;
        }
        self.free_if_done(id);
        Ok(())
    }

    pub(super) fn receive_method(&mut self, method: AnyMethod) {
        match self.phase.receive(method, &self.config) {
            Ok(step) => self.take_step(step),
            Err(ConnectionError::Violation(violation)) => self.violated(violation),
            Err(error) => self.end(error),
        }
    }

    pub(super) fn take_step(&mut self, step: Step) {
        match step {
            Step::Introduced { server_properties, answer } => {
                self.server_properties = server_properties;
                self.send(&answer.into());
            }
            Step::Respond(response) => self.send(&response.into()),
            Step::Tuned { offer, tuning } => self.tuned(&offer, tuning),
            Step::Opened => {
                self.timers.stop(Timer::Handshake);
                self.start_watching();
                self.events.push(Event::Opened);
            }
            Step::ClosedByPeer(error) => {
                self.output.purge_all();
                self.send(&connection::CloseOk::new().into());
                self.end(error);
            }
            Step::CloseConfirmed => self.end(ConnectionError::Closed),
            Step::Blocked(reason) => {
                self.blocked = true;
                self.events.push(Event::Blocked { reason });
            }
            Step::Unblocked => {
                if core::mem::take(&mut self.blocked) {
                    self.expect_output();
                    self.events.push(Event::Unblocked);
                }
            }
            Step::Ignore => {}
        }
    }

    pub(super) fn tuned(&mut self, offer: &Offer, tuning: Tuning) {
        self.tuning = tuning;
        self.limits = limits(&self.config, &self.tuning);
        self.decoder.set_limits(self.tuning.frame_limits(offer, &self.config));
        self.output.set_body_max(self.tuning.max_body_payload());
        let Tuning { channel_max, frame_max, heartbeat, .. } = self.tuning;
        // Both or none: what cannot be sent is found before anything is agreed.
        let tune_ok = self.frame(&connection::TuneOk::new(channel_max, frame_max, heartbeat).into());
        let open = self.frame(&connection::Open::new(self.config.vhost.clone()).into());
        match (tune_ok, open) {
            (Ok(tune_ok), Ok(open)) => {
                self.output.write_raw(&tune_ok);
                self.output.write_raw(&open);
                self.start_heartbeats();
            }
            (Err(misuse), _) | (_, Err(misuse)) => self.end(ConnectionError::Misuse(misuse)),
        }
    }
}

/// Output and the end.
impl Connection {
    pub(super) fn ready(&self) -> Result<(), Error> {
        match (&self.fault, &self.phase) {
            (Some(fault), _) => Err(fault.clone().into()),
            (None, Phase::Open) => Ok(()),
            (None, Phase::Closing | Phase::Closed) => Err(ConnectionError::Closed.into()),
            (None, _) => Err(Misuse::NotOpenYet.into()),
        }
    }

    /// Sends a method of the connection itself.
    pub(super) fn send(&mut self, method: &AnyMethod) {
        match self.frame(method) {
            Ok(frame) => self.output.write_raw(&frame),
            Err(misuse) => self.end(ConnectionError::Misuse(misuse)),
        }
    }

    pub(super) fn frame(&self, method: &AnyMethod) -> Result<BytesMut, Misuse> {
        let mut frame = BytesMut::new();
        let mut writer = Writer::new(&mut frame);
        write_method(&mut writer, 0, method, self.limits.frame_max)?;
        writer.commit();
        Ok(frame)
    }

    /// The peer broke the protocol: say so if it can still be said, and stop listening.
    pub(super) fn violated(&mut self, violation: Violation) {
        if self.phase == Phase::Open {
            self.output.purge_all();
            let text = alloc::string::ToString::to_string(&violation);
            self.send(&connection::Close::new(violation.reply_code(), shortened(&text)).into());
        }
        self.end(violation.into());
    }

    /// The end: all who wait are answered, all who come will be.
    pub(super) fn end(&mut self, error: ConnectionError) {
        if self.fault.is_some() {
            return;
        }
        self.fail_channels(&error);
        self.phase = Phase::Closed;
        self.timers.clear();
        self.events.push(Event::Closed(error.clone()));
        self.fault = Some(error);
    }

    pub(super) fn fail_channels(&mut self, error: &ConnectionError) {
        let fault = Error::Connection(error.clone());
        let Self { slots, output, events, timers, limits, assembling, blocked, .. } = self;
        for state in slots.iter_mut() {
            let shared = Shared { output, events, timers, limits, assembling, blocked: *blocked };
            Channel { state, shared }.fail_with_connection(&fault);
        }
    }

    pub(super) fn free_if_done(&mut self, id: ChannelId) {
        if self.slots.get(id).is_some_and(State::is_free) {
            self.slots.free(id);
        }
    }
}
