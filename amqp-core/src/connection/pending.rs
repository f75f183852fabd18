//! Calls that wait for their answer.
//!
//! Many calls may wait on one channel. An answer goes to the *oldest call that expects this kind of reply* (consume-ok
//! and cancel-ok: with that tag), which is not always the head of the queue: RabbitMQ answers `consume, qos, declare`
//! as qos-ok, declare-ok, consume-ok. A call that nobody waits for any more stays in the queue, abandoned, and swallows
//! its late answer.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::marker::PhantomData;

use crate::{
    channel_id::ChannelId,
    error::Error,
    message::{Got, Message},
    method::{AnyMethod, Method, MethodId, basic},
    time::Instant,
    wire::{Misuse, ShortStr, ShortString},
};

/// How many calls may wait on one channel.
pub const MAX_PENDING_CALLS: usize = 65_536;

/// Names one call of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(super) u64);

/// The claim to one answer, which comes as an [`Event::Answer`](crate::Event::Answer).
///
/// If the answer is not wanted any more, say so with [`Connection::abandon`](crate::Connection::abandon).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the answer to a call comes as an event and is claimed with this"]
pub struct Pending<R> {
    call: CallId,
    channel: ChannelId,
    reply: PhantomData<fn() -> R>,
}

impl<R> Pending<R> {
    pub(super) fn new(call: CallId, channel: ChannelId) -> Self {
        Self { call, channel, reply: PhantomData }
    }

    /// The call, as [`Answer::call`] names it.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// The channel that was called on.
    pub fn channel(&self) -> ChannelId {
        self.channel
    }
}

impl<R: Reply> Pending<R> {
    /// Takes the reply out of the answer to this call.
    ///
    /// # Errors
    ///
    /// What the call failed with; [`Misuse::AnswerOfAnotherCall`] if this is not its answer.
    pub fn claim(self, answer: Answer) -> Result<R, Error> {
        if answer.call != self.call {
            return Err(Misuse::AnswerOfAnotherCall.into());
        }
        R::from_body((*answer.body)?).ok_or(Error::Misuse(Misuse::AnswerOfAnotherCall))
    }
}

/// The end of a call: the reply or the error.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    call: CallId,
    /// Apart, because methods are large and would make every event as large.
    body: Box<Result<Body, Error>>,
}

impl Answer {
    pub(super) fn new(call: CallId, body: Result<Body, Error>) -> Self {
        Self { call, body: Box::new(body) }
    }

    /// The call that has ended.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// What the call failed with, if it did.
    pub fn error(&self) -> Option<&Error> {
        (*self.body).as_ref().err()
    }

    /// The message, if one was fetched.
    pub(super) fn message(&self) -> Option<&Message> {
        match &*self.body {
            Ok(Body::Got(Some(got))) => Some(&got.delivery),
            _ => None,
        }
    }
}

/// What a broker answers with.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A method.
    Method(AnyMethod),
    /// The answer to `basic.get`: a message, or none.
    Got(Option<Got>),
}

/// What can be claimed as the answer to a call.
pub trait Reply: Sized {
    /// Takes the reply out, if this is the right kind.
    #[doc(hidden)]
    fn from_body(body: Body) -> Option<Self>;
}

impl<M: Method> Reply for M {
    fn from_body(body: Body) -> Option<Self> {
        match body {
            Body::Method(method) => method.try_into().ok(),
            Body::Got(_) => None,
        }
    }
}

impl Reply for Option<Got> {
    fn from_body(body: Body) -> Option<Self> {
        match body {
            Body::Got(got) => Some(got),
            Body::Method(_) => None,
        }
    }
}

/// A call in the queue of its channel.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) request: MethodId,
    /// The method that answers it. `basic.get` is listed with get-ok and answered by get-empty as well.
    pub(super) reply: MethodId,
    /// The consumer that a consume or cancel is about.
    pub(super) consumer_tag: Option<ShortString>,
    pub(super) deadline: Option<Instant>,
    /// Whether a fetched message is settled already.
    pub(super) no_ack: bool,
    /// How many messages had been published on the channel: the answer proves that they were carried out.
    pub(super) published: u64,
    pub(super) abandoned: bool,
}

/// The calls of one channel, oldest first.
#[derive(Debug, Default)]
pub(super) struct Calls(VecDeque<Call>);

impl Calls {
    pub(super) fn push(&mut self, call: Call) {
        self.0.push_back(call);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes out the call that this reply answers.
    pub(super) fn answered_by(&mut self, reply: MethodId, consumer_tag: Option<ShortStr<'_>>) -> Option<Call> {
        let reply = if reply == basic::GetEmpty::ID { basic::GetOk::ID } else { reply };
        let answers = |call: &Call| {
            let tag = call.consumer_tag.as_ref().map(ShortString::as_short_str);
            call.reply == reply && (consumer_tag.is_none() || tag == consumer_tag)
        };
        let at = self.0.iter().position(answers)?;
        self.0.remove(at)
    }

    /// The oldest call that waits for this reply, without taking it out.
    pub(super) fn oldest(&self, reply: MethodId) -> Option<&Call> {
        self.0.iter().find(|call| call.reply == reply)
    }

    /// The call that is about to create this consumer; the latest, if the tag was used before.
    pub(super) fn consume(&self, consumer_tag: &ShortString) -> Option<CallId> {
        let creates =
            |call: &&Call| call.reply == basic::ConsumeOk::ID && call.consumer_tag.as_ref() == Some(consumer_tag);
        self.0.iter().rev().find(creates).map(|call| call.id)
    }

    /// Whether a cancel of this consumer waits for its answer.
    pub(super) fn cancels(&self, consumer_tag: &ShortString) -> bool {
        self.0.iter().any(|call| call.reply == basic::CancelOk::ID && call.consumer_tag.as_ref() == Some(consumer_tag))
    }

    pub(super) fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        // Calls are named in ascending order.
        let at = self.0.binary_search_by_key(&id, |call| call.id).ok()?;
        self.0.get_mut(at)
    }

    pub(super) fn ids(&self) -> Vec<CallId> {
        self.0.iter().map(|call| call.id).collect()
    }

    /// Takes all of them out.
    pub(super) fn drain(&mut self) -> Vec<Call> {
        self.0.drain(..).collect()
    }
}
