//! Channel numbers and their generations.
//!
//! A number is given out again only when its owner has let go of it *and* both sides have closed the channel; the
//! longest unused comes first. Each time it gets a new generation, so a [`ChannelId`] from an earlier life finds
//! nothing.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use crate::channel_id::ChannelId;

#[derive(Debug)]
pub(super) struct Slots<T> {
    /// The slot of number `n` is at `n - 1`.
    slots: Vec<Slot<T>>,
    free: VecDeque<u16>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    state: Option<Box<T>>,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: VecDeque::new() }
    }

    /// Takes a number for a new channel; none if all up to `limit` are taken.
    pub(super) fn allocate(&mut self, limit: u16, state: impl FnOnce(ChannelId) -> T) -> Option<ChannelId> {
        // Fresh numbers first, so that a number rests as long as possible before it is used again.
        let fresh = u16::try_from(self.slots.len()).ok()?.checked_add(1).filter(|number| *number <= limit);
        let number = match fresh {
            Some(number) => {
                self.slots.push(Slot { generation: 0, state: None });
                number
            }
            None => self.free.pop_front()?,
        };
        let slot = self.slots.get_mut(index(number)?)?;
        slot.generation = slot.generation.wrapping_add(1);
        let id = ChannelId::new(number, slot.generation);
        slot.state = Some(Box::new(state(id)));
        Some(id)
    }

    /// Gives the number back.
    pub(super) fn free(&mut self, id: ChannelId) {
        if self.get_mut(id).is_some()
            && let Some(slot) = index(id.number()).and_then(|at| self.slots.get_mut(at))
        {
            slot.state = None;
            self.free.push_back(id.number());
        }
    }

    pub(super) fn get(&self, id: ChannelId) -> Option<&T> {
        let slot = self.slots.get(index(id.number())?)?;
        slot.state.as_deref().filter(|_| slot.generation == id.generation())
    }

    pub(super) fn get_mut(&mut self, id: ChannelId) -> Option<&mut T> {
        let slot = self.slots.get_mut(index(id.number())?)?;
        slot.state.as_deref_mut().filter(|_| slot.generation == id.generation())
    }

    /// The channel that has this number now.
    pub(super) fn by_number(&mut self, number: u16) -> Option<&mut T> {
        self.slots.get_mut(index(number)?)?.state.as_deref_mut()
    }

    /// Whether a channel has ever had this number.
    pub(super) fn was_used(&self, number: u16) -> bool {
        index(number).is_some_and(|at| at < self.slots.len())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.state.as_deref_mut())
    }

    /// How many channels there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }
}

fn index(number: u16) -> Option<usize> {
    usize::from(number).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut slots = Slots::new();
        let first = slots.allocate(1, |_| "first").unwrap();
        assert_eq!(slots.allocate(1, |_| "refused"), None);
        slots.free(first);
        let second = slots.allocate(1, |_| "second").unwrap();
        assert_eq!((first.number(), second.number()), (1, 1));
        assert_eq!((slots.get(first), slots.get(second)), (None, Some(&"second")));
        slots.free(first);
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn numbers_rest_before_they_are_used_again() {
        let mut slots = Slots::new();
        let first = slots.allocate(3, |_| ()).unwrap();
        slots.free(first);
        let numbers = [(); 3].map(|()| slots.allocate(3, |_| ()).unwrap().number());
        assert_eq!(numbers, [2, 3, 1]);
    }
}
