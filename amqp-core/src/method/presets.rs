//! Requests that are asked for so often that they have a name of their own.

use super::queue;

impl queue::Declare {
    /// A queue that the broker names; it is exclusive to this connection and goes with it.
    ///
    /// The name is in the answer: [`DeclareOk::queue`](queue::DeclareOk).
    pub fn server_named() -> Self {
        Self::new("").transient().exclusive()
    }
}
