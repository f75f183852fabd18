//! Octets that are ready to be written, in their final order.
//!
//! Small frames stand one behind the other in one buffer; large bodies are chained in between without a copy. As a
//! [`Buf`] it gives them to one `writev`.

use alloc::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// Output for the transport; a [`bytes::Buf`].
///
/// A driver writes from [`Connection::outbox`](crate::Connection::outbox), or takes it out with
/// [`Connection::take_outbox`](crate::Connection::take_outbox) and writes without holding a lock.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What is written first: pieces of former `flat`s, and bodies.
    chained: VecDeque<Bytes>,
    chained_octets: usize,
    /// What is written last, and still grows.
    pub(super) flat: BytesMut,
    /// Octets that have left through [`Buf::advance`] so far.
    advanced: u64,
    /// How many had left when it was last emptied.
    advanced_before: u64,
}

/// An emptied buffer of more than this is let go when it was not needed, so that an idle connection keeps little
/// memory.
const KEPT_CAPACITY: usize = 64 * 1024;

impl Outbox {
    /// How many octets are waiting.
    pub fn len(&self) -> usize {
        self.chained_octets.saturating_add(self.flat.len())
    }

    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.chained.is_empty() && self.flat.is_empty()
    }

    pub(super) fn advanced(&self) -> u64 {
        self.advanced
    }

    /// Appends octets without copying them.
    pub(super) fn append(&mut self, octets: Bytes) {
        if !self.flat.is_empty() {
            let flat = self.flat.split().freeze();
            self.push(flat);
        }
        self.push(octets);
    }

    /// Makes an emptied outbox ready to be filled again.
    pub(super) fn reset(&mut self) {
        self.chained.clear();
        self.chained_octets = 0;
        let written = self.advanced.saturating_sub(self.advanced_before);
        self.advanced_before = self.advanced;
        // A buffer that is filled to a quarter or more each time must not be grown anew each time.
        let needed = usize::try_from(written).unwrap_or(usize::MAX).saturating_mul(4);
        if self.flat.capacity() > KEPT_CAPACITY.max(needed) { self.flat = BytesMut::new() } else { self.flat.clear() }
    }

    fn push(&mut self, octets: Bytes) {
        self.chained_octets = self.chained_octets.saturating_add(octets.len());
        self.chained.push_back(octets);
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.chained.front().map_or(&self.flat, |octets| octets)
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "an outbox advances by what was written");
        self.advanced = self.advanced.saturating_add(count as u64);
        let mut left = count;
        while let Some(front) = self.chained.front_mut() {
            if left < front.len() {
                front.advance(left);
                self.chained_octets = self.chained_octets.saturating_sub(left);
                return;
            }
            left = left.saturating_sub(front.len());
            self.chained_octets = self.chained_octets.saturating_sub(front.len());
            self.chained.pop_front();
        }
        if left == self.flat.len() {
            // Unlike advancing, this gives the front of the buffer back at once.
            self.flat.clear();
        } else {
            self.flat.advance(left);
        }
    }

    #[cfg(feature = "std")]
    fn chunks_vectored<'a>(&'a self, slices: &mut [std::io::IoSlice<'a>]) -> usize {
        let pieces = self.chained.iter().map(|octets| &octets[..]).chain(core::iter::once(&self.flat[..]));
        let filled = pieces.filter(|octets| !octets.is_empty()).zip(slices.iter_mut());
        filled.map(|(octets, slice)| *slice = std::io::IoSlice::new(octets)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_chaining_and_advancing() {
        let mut outbox = Outbox::default();
        outbox.flat.extend_from_slice(b"head");
        outbox.append(Bytes::from_static(b"body"));
        outbox.flat.extend_from_slice(b"tail");
        outbox.advance(2);
        assert_eq!(outbox.len(), 10);
        assert_eq!(outbox.copy_to_bytes(10), "adbodytail");
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_buffer_is_kept_while_it_is_needed() {
        let mut outbox = Outbox::default();
        for (size, kept) in [(1 << 20, true), (1 << 19, true), (1, false), (1, true)] {
            outbox.flat.extend_from_slice(&alloc::vec![0; size]);
            outbox.advance(size);
            outbox.reset();
            assert_eq!(outbox.flat.capacity() > 0, kept, "{size}");
        }
    }

    #[cfg(feature = "std")]
    #[test]
    fn pieces_are_gathered_for_one_write() {
        let mut outbox = Outbox::default();
        outbox.flat.extend_from_slice(b"head");
        outbox.append(Bytes::from_static(b"body"));
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        assert_eq!(outbox.chunks_vectored(&mut slices), 2);
        assert_eq!((&*slices[0], &*slices[1]), (&b"head"[..], &b"body"[..]));
    }
}
