//! Who waits, and who is to be woken.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use amqp_core::Answer;

use crate::consumer::Mailbox;

/// Someone who waits for an answer.
#[derive(Default)]
pub(crate) struct Waiter {
    pub(crate) answer: Mutex<Option<Answer>>,
    pub(crate) answered: Condvar,
}

/// Who is to be woken once the lock is gone.
#[derive(Default)]
pub(crate) struct Wakeups {
    pub(crate) answers: Vec<(Arc<Waiter>, Answer)>,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) progress: bool,
    pub(crate) writer: bool,
    pub(crate) reader: bool,
}

impl Wakeups {
    pub(crate) fn mailbox(&mut self, mailbox: Arc<Mailbox>) {
        if !self.mailboxes.iter().any(|known| Arc::ptr_eq(known, &mailbox)) {
            self.mailboxes.push(mailbox);
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.answers.extend(other.answers);
        other.mailboxes.into_iter().for_each(|mailbox| self.mailbox(mailbox));
        self.progress |= other.progress;
        self.writer = other.writer;
        self.reader |= other.reader;
    }

    pub(crate) fn any(&self) -> bool {
        self.progress || self.reader || !self.answers.is_empty() || !self.mailboxes.is_empty()
    }
}

impl Waiter {
    pub(crate) fn give(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.answered.notify_one();
    }

    pub(crate) fn wait(&self, timeout: Duration) -> Option<Answer> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = self.answered.wait_timeout_while(answer, timeout, |answer| answer.is_none());
        answered.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}
