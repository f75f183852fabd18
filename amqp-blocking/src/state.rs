//! What the link guards: the core, and who waits for what.
//!
//! [`State::dispatch`] hands out what has happened in the core, and collects who is to be woken for it.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use amqp_core::{
    CallId, Cause, ChannelError, ChannelId, Error, Event, Outbox, Returned,
    connection::Outcomes,
    wire::{ShortStr, ShortString},
};

use crate::{
    consumer::{End, Mailbox},
    notice::{Notice, Notices},
    wakeups::{Waiter, Wakeups},
};

/// How many returned messages a channel keeps for whoever asks; more become notices.
const MAX_RETURNED: usize = 1024;

/// The core, who waits for what, and who sleeps. [`Link`](crate::link::Link) guards it.
pub(crate) struct State {
    pub(crate) core: amqp_core::Connection,
    pub(crate) calls: HashMap<CallId, Arc<Waiter>>,
    channels: HashMap<ChannelId, ChannelEntry>,
    pub(crate) notices: Notices,
    /// Somebody is writing.
    pub(crate) writing: bool,
    /// What is left of an outbox that the transport did not take in time.
    pub(crate) unwritten: Option<Outbox>,
    /// The writer thread sleeps, and has to be woken for output.
    pub(crate) writer_sleeps: bool,
    /// When it looks at the clock next, and has to be woken for what is due before; none if it never does.
    pub(crate) writer_wakes_at: Option<amqp_core::Instant>,
    /// Output has left since the last dispatch.
    pub(crate) written: bool,
    pub(crate) progress_waiters: usize,
    /// The reader thread sleeps, until somebody has emptied a mailbox or made a call.
    pub(crate) reader_sleeps: bool,
    /// The octets in all mailboxes.
    pub(crate) backlog: usize,
    /// A write has failed, for this reason; the reader is given until then to find a better one.
    pub(crate) write_failed: Option<(Cause, Instant)>,
}

/// What belongs to an open channel handle.
#[derive(Default)]
struct ChannelEntry {
    consumers: Vec<(ShortString, Arc<Mailbox>)>,
    returned: VecDeque<Returned>,
    outcomes: Outcomes,
}

impl State {
    pub(crate) fn new(core: amqp_core::Connection) -> Self {
        Self {
            core,
            calls: HashMap::new(),
            channels: HashMap::new(),
            notices: Notices::default(),
            writing: false,
            unwritten: None,
            writer_sleeps: false,
            writer_wakes_at: None,
            written: false,
            progress_waiters: 0,
            reader_sleeps: false,
            backlog: 0,
            write_failed: None,
        }
    }

    pub(crate) fn may_write(&self) -> bool {
        !self.writing && self.write_failed.is_none() && (self.unwritten.is_some() || self.core.wants_write())
    }

    /// Whether something is due, or is going to be, before the writer thread looks at the clock.
    pub(crate) fn writer_oversleeps(&self) -> bool {
        let sooner = |at| self.writer_wakes_at.is_none_or(|wakes_at| at < wakes_at);
        self.write_failed.is_some() || self.core.poll_timeout().is_some_and(sooner)
    }

    /// Whether somebody waits for what is to be read behind deliveries: an answer, a confirm, room to publish (a broker
    /// that cannot write does not read either), or the end of a connection that is closing.
    pub(crate) fn must_read(&self) -> bool {
        !self.calls.is_empty() || self.progress_waiters > 0 || !self.core.is_open()
    }

    pub(crate) fn add_channel(&mut self, id: ChannelId) {
        self.channels.insert(id, ChannelEntry::default());
    }

    /// Forgets a channel whose handles are gone. What nobody has asked for becomes a notice.
    pub(crate) fn remove_channel(&mut self, id: ChannelId) {
        let unreported = self.core.release(id);
        let returned = self.channels.remove(&id).map(|entry| entry.returned).unwrap_or_default();
        self.notices.extend(returned.into_iter().map(Notice::Returned));
        self.notices.extend(unreported.map(|error| Notice::Unreported { channel: id.number(), error }));
    }

    pub(crate) fn add_consumer(&mut self, channel: ChannelId, tag: ShortString, mailbox: Arc<Mailbox>) {
        if let Some(entry) = self.channels.get_mut(&channel) {
            entry.consumers.retain(|(other, _)| *other != tag);
            entry.consumers.push((tag, mailbox));
        }
    }

    pub(crate) fn remove_consumer(&mut self, channel: ChannelId, tag: &ShortString) -> Option<Arc<Mailbox>> {
        let consumers = &mut self.channels.get_mut(&channel)?.consumers;
        let at = consumers.iter().position(|(other, _)| other == tag)?;
        Some(consumers.swap_remove(at).1)
    }

    pub(crate) fn outcomes(&mut self, channel: ChannelId) -> Option<&mut Outcomes> {
        self.channels.get_mut(&channel).map(|entry| &mut entry.outcomes)
    }

    pub(crate) fn take_returned(&mut self, channel: ChannelId) -> VecDeque<Returned> {
        self.channels.get_mut(&channel).map(|entry| std::mem::take(&mut entry.returned)).unwrap_or_default()
    }

    /// Hands out everything that has happened; who is to be woken for it comes back.
    pub(crate) fn dispatch(&mut self) -> Wakeups {
        let mut wakeups = Wakeups::default();
        while let Some(event) = self.core.poll_event() {
            self.hand_out(event, &mut wakeups);
        }
        wakeups.progress |= std::mem::take(&mut self.written);
        wakeups.progress &= self.progress_waiters > 0;
        wakeups.writer = self.writer_sleeps && (self.may_write() || self.core.is_closed() || self.writer_oversleeps());
        wakeups.reader = self.reader_sleeps && self.must_read();
        wakeups
    }

    fn hand_out(&mut self, event: Event, wakeups: &mut Wakeups) {
        match event {
            Event::Answer(answer) => {
                let waiter = self.calls.remove(&answer.call());
                wakeups.answers.extend(waiter.map(|waiter| (waiter, answer)));
            }
            Event::Delivery(delivery) => {
                let mailbox = self.mailbox(delivery.channel(), delivery.consumer_tag());
                if mailbox.is_none() && !delivery.no_ack() {
                    // Its consumer has just ended: another shall have it. A channel that has failed gives all back.
                    let _ = self.core.channel(delivery.channel()).and_then(|mut channel| channel.send(delivery.nack()));
                } else if let Some(mailbox) = mailbox {
                    self.backlog = self.backlog.saturating_add(cost(&delivery));
                    mailbox.push(delivery);
                    wakeups.mailbox(mailbox);
                }
            }
            Event::Returned(returned) => match self.channels.get_mut(&returned.channel()) {
                Some(entry) if entry.returned.len() < MAX_RETURNED => entry.returned.push_back(returned),
                _ => self.notices.push(Notice::Returned(returned)),
            },
            Event::Settled(settled) => {
                if let Some(entry) = self.channels.get_mut(&settled.channel) {
                    entry.outcomes.record(&settled);
                }
                wakeups.progress = true;
            }
            Event::ConsumerCancelled { channel, consumer_tag, by_broker } => {
                if let Some(mailbox) = self.remove_consumer(channel, &consumer_tag) {
                    let error = ChannelError::ConsumerCancelled { consumer_tag, by_broker };
                    mailbox.end(if by_broker { End::failed(error.into()) } else { End::Cancelled });
                    wakeups.mailbox(mailbox);
                }
            }
            Event::ChannelClosed { channel, error } => match self.channels.get_mut(&channel) {
                Some(entry) => entry.end_consumers(&error.into(), wakeups),
                None => self.notices.push(Notice::Unreported { channel: channel.number(), error: error.into() }),
            },
            Event::Closed(error) => {
                for entry in self.channels.values_mut() {
                    entry.end_consumers(&Error::Connection(error.clone()), wakeups);
                }
                self.notices.push(Notice::Closed(error));
                wakeups.progress = true;
            }
            Event::Opened => wakeups.progress = true,
            Event::Blocked { reason } => self.notices.push(Notice::Blocked { reason }),
            Event::Unblocked => self.notices.push(Notice::Unblocked),
            Event::Oversized { channel, size } => {
                self.notices.push(Notice::Oversized { channel: channel.number(), size });
            }
            Event::Flow { .. } => wakeups.progress = true,
            _ => {}
        }
    }

    fn mailbox(&self, channel: ChannelId, tag: ShortStr<'_>) -> Option<Arc<Mailbox>> {
        let consumers = &self.channels.get(&channel)?.consumers;
        consumers.iter().find(|(other, _)| other.as_short_str() == tag).map(|(_, mailbox)| Arc::clone(mailbox))
    }

    /// Ends the consumers of a channel that this program has closed.
    pub(crate) fn end_consumers(&mut self, channel: ChannelId, error: &Error) -> Wakeups {
        let mut wakeups = Wakeups::default();
        if let Some(entry) = self.channels.get_mut(&channel) {
            entry.end_consumers(error, &mut wakeups);
        }
        wakeups
    }
}

impl ChannelEntry {
    fn end_consumers(&mut self, error: &Error, wakeups: &mut Wakeups) {
        for (_, mailbox) in self.consumers.drain(..) {
            mailbox.end(End::failed(error.clone()));
            wakeups.mailbox(mailbox);
        }
    }
}

/// What a delivery that waits in a mailbox keeps in memory, about.
pub(crate) fn cost(delivery: &amqp_core::Delivery) -> usize {
    delivery.body().len() + delivery.encoded_properties().len() + size_of::<amqp_core::Delivery>()
}
