//! Transactions: publishes and acknowledgements of one channel that take effect together.

use amqp_core::{Error, method::tx};

use crate::Channel;

impl Channel {
    /// Runs `work` in a transaction: what it publishes and acknowledges on this channel takes effect when it succeeds,
    /// and never if it fails or panics. The channel stays in transaction mode.
    ///
    /// # Errors
    ///
    /// What `work` returns, after a rollback; whatever the broker objects to, an error of a publish above all: until it
    /// has committed, nothing has happened.
    pub fn with_tx<T>(&self, work: impl FnOnce(&Self) -> Result<T, Error>) -> Result<T, Error> {
        self.call(tx::Select::new())?;
        let unfinished = Unfinished(self);
        let result = work(self);
        std::mem::forget(unfinished);
        match result {
            Ok(done) => self.call(tx::Commit::new()).map(|_| done),
            Err(error) => {
                // If the rollback fails the channel is gone, and the transaction with it: the first error counts.
                let _ = self.call(tx::Rollback::new());
                Err(error)
            }
        }
    }
}

/// A transaction that a panic runs away from.
struct Unfinished<'a>(&'a Channel);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.call_and_forget(tx::Rollback::new());
    }
}
