//! Consumers with threads of their own: a function is called for each delivery.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use amqp_core::{Cause, ConnectionError, Error, error::Stage, method::basic, wire::ShortString};

use crate::{Channel, Consumer, Delivery};

/// What becomes of a message whose handler fails or panics before it has settled the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// It is dropped, or dead-lettered if its queue says so: a message that always fails does not come back for ever.
    #[default]
    Reject,
    /// It goes back to its queue.
    Requeue,
    /// It stays unsettled until the channel is closed.
    Leave,
}

/// How a consumer is worked off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Workers {
    /// How many threads call the handler. With one, messages are handled in order.
    pub threads: usize,
    /// What becomes of a message whose handler fails.
    pub on_failure: OnFailure,
}

impl Default for Workers {
    fn default() -> Self {
        Self { threads: 1, on_failure: OnFailure::default() }
    }
}

impl Workers {
    /// So many threads; at least one.
    pub fn threads(threads: usize) -> Self {
        Self { threads: threads.max(1), ..Self::default() }
    }

    /// Decides what becomes of a message whose handler fails.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }
}

/// A consumer that is being worked off. Dropping it lets it go on; it ends with its channel.
#[must_use = "the consumer goes on when this is dropped; join() waits for its end"]
pub struct Working {
    channel: Channel,
    tag: ShortString,
    threads: Vec<JoinHandle<Option<Error>>>,
}

impl Channel {
    /// Starts a consumer whose deliveries are handed to `handler`, on threads of their own.
    ///
    /// The handler may do anything: call on this channel, publish, cancel its consumer
    /// ([`Delivery::cancel_consumer`]), close the channel, panic. Heartbeats and other consumers go on meanwhile.
    /// A handler that returns an error or panics leaves its message to [`Workers::on_failure`], unless it has settled
    /// it: by default it is dropped. The error itself is thrown away: log it in the handler.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn consume_with<E>(
        &self,
        request: basic::Consume,
        workers: Workers,
        handler: impl Fn(Delivery) -> Result<(), E> + Send + Sync + 'static,
    ) -> Result<Working, Error> {
        let consumer = self.consume(request)?;
        let tag = consumer.tag().to_short_string();
        let consumer = Arc::new(Mutex::new(consumer));
        let handler = Arc::new(handler);
        let threads = (0..workers.threads).map(|_| {
            let (consumer, handler) = (Arc::clone(&consumer), Arc::clone(&handler));
            let work = move || work(&consumer, &*handler, workers.on_failure);
            thread::Builder::new().name("amqp-worker".to_owned()).spawn(work)
        });
        let threads = threads.collect::<Result<_, _>>().map_err(|error| {
            let cause = Cause::new(format!("cannot start a thread: {error}"));
            ConnectionError::Disconnected { stage: Stage::Open, cause }
        })?;
        Ok(Working { channel: self.clone(), tag, threads })
    }
}

impl Working {
    /// The consumer's tag.
    pub fn tag(&self) -> &ShortString {
        &self.tag
    }

    /// Asks the broker for no more deliveries and waits until it agrees. What was on its way is still handled.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection, if there is one.
    pub fn cancel(&self) -> Result<(), Error> {
        self.channel.cancel_consumer(&self.tag)
    }

    /// Waits until the consumer has ended and everything is handled.
    ///
    /// # Errors
    ///
    /// Why it has ended, unless this program cancelled it.
    pub fn join(self) -> Result<(), Error> {
        // Handlers' panics are caught, so the threads themselves do not panic.
        let reasons = self.threads.into_iter().filter_map(|thread| thread.join().ok().flatten());
        reasons.last().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Working {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Working").field("tag", &self.tag).field("threads", &self.threads.len()).finish()
    }
}

/// Handles deliveries until there are no more; gives the reason, if this thread is the one that is told.
fn work<E>(
    consumer: &Mutex<Consumer>,
    handler: &(impl Fn(Delivery) -> Result<(), E> + ?Sized),
    on_failure: OnFailure,
) -> Option<Error> {
    loop {
        // One thread waits for the next delivery, the others wait for that one.
        let next = consumer.lock().unwrap_or_else(PoisonError::into_inner).next();
        let mut delivery = match next {
            Some(Ok(delivery)) => delivery,
            end => return end.and_then(Result::err),
        };
        let custody = delivery.custody();
        let handled = catch_unwind(AssertUnwindSafe(|| handler(delivery)));
        if !matches!(handled, Ok(Ok(()))) {
            custody.settle(on_failure);
        }
    }
}
