//! What happens to a connection without anybody having asked for it.

use std::collections::VecDeque;

use amqp_core::{ConnectionError, Error, Returned};

/// How many notices are kept for a program that does not look; the oldest go first.
const MAX_NOTICES: usize = 1024;

/// Something that happened and that no call has reported.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// The broker has run out of memory or disk space and reads nothing from this connection any more.
    Blocked {
        /// The broker's reason.
        reason: String,
    },
    /// The broker reads from this connection again.
    Unblocked,
    /// A mandatory message came back on a channel that nobody has a handle of any more.
    Returned(Returned),
    /// A channel failed, its handles are gone, and no operation has reported why.
    Unreported {
        /// The channel's number.
        channel: u16,
        /// Why it failed.
        error: Error,
    },
    /// A message over the size limit was dropped while it came in.
    Oversized {
        /// The channel's number.
        channel: u16,
        /// The size of its body in octets.
        size: u64,
    },
    /// The connection has ended.
    Closed(ConnectionError),
}

#[derive(Debug, Default)]
pub(crate) struct Notices(VecDeque<Notice>);

impl Notices {
    pub(crate) fn push(&mut self, notice: Notice) {
        if self.0.len() == MAX_NOTICES {
            self.0.pop_front();
        }
        self.0.push_back(notice);
    }

    pub(crate) fn extend(&mut self, notices: impl IntoIterator<Item = Notice>) {
        notices.into_iter().for_each(|notice| self.push(notice));
    }

    pub(crate) fn pop(&mut self) -> Option<Notice> {
        self.0.pop_front()
    }
}
