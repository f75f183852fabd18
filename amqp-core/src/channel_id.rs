//! The name of a channel: a number on the wire, and a generation that says which of its lives is meant.

use core::fmt;

/// One life of one channel.
///
/// Channel numbers are used again; a `ChannelId` never is, so an acknowledgement that comes too late cannot reach a
/// channel that it was not meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId {
    number: u16,
    generation: u32,
}

impl ChannelId {
    pub(crate) fn new(number: u16, generation: u32) -> Self {
        Self { number, generation }
    }

    /// The number that the channel has on the wire, as brokers show it.
    pub fn number(self) -> u16 {
        self.number
    }

    pub(crate) fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}
