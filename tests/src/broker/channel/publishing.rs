//! Publishing: at once, with confirms, or in a transaction.

use std::{collections::BTreeSet, sync::Arc};

use amqp_core::{
    method::{ReplyCode, basic, confirm, tx},
    wire::ShortString,
};

use super::{
    super::{
        fault::Fault,
        mailbox::Notice,
        message::{MAX_BODY, Message},
        vhost::{Settlement, Unacked, Verdict},
    },
    Channel, Context,
    assembly::Content,
    confirms::{Confirm, Confirms},
};

/// What the channel was switched to.
#[derive(Debug)]
pub(super) enum Mode {
    Plain,
    Confirm(Confirms),
    Transaction(Transaction),
}

/// What waits for `tx.commit`.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    publishes: Vec<Routed>,
    settlements: Vec<(Vec<(u64, Unacked)>, Settlement)>,
    /// The queues have not told yet that they have everything.
    committing: bool,
}

/// A message and the queues it goes to.
#[derive(Debug)]
struct Routed {
    message: Arc<Message>,
    exchange: ShortString,
    mandatory: bool,
    queues: BTreeSet<ShortString>,
}

impl Mode {
    /// In a transaction keeps what is settled until it ends; hands it back otherwise.
    pub(super) fn defer_settlement(
        &mut self,
        taken: Vec<(u64, Unacked)>,
        how: Settlement,
    ) -> Option<Vec<(u64, Unacked)>> {
        match self {
            Self::Transaction(transaction) => {
                transaction.settlements.push((taken, how));
                None
            }
            _ => Some(taken),
        }
    }

    /// Whether a commit is under way.
    pub(super) fn is_committing(&self) -> bool {
        matches!(self, Self::Transaction(Transaction { committing: true, .. }))
    }

    /// Notes something about the confirms, in confirm mode.
    pub(super) fn confirm(&mut self, note: impl FnOnce(&mut Confirms)) {
        if let Self::Confirm(confirms) = self {
            note(confirms);
        }
    }

    /// What a transaction that never ends has settled.
    pub(super) fn take_unacked(&mut self) -> Vec<(u64, Unacked)> {
        match self {
            Self::Transaction(transaction) => {
                std::mem::take(&mut transaction.settlements).into_iter().flat_map(|(taken, _)| taken).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Channel {
    pub(super) fn publish(
        &mut self,
        publish: basic::Publish,
        content: Content,
        context: &mut Context<'_>,
    ) -> Result<(), Fault> {
        if publish.immediate {
            return Err(Fault::not_implemented("immediate=true"));
        }
        if content.size > MAX_BODY {
            let size = content.size;
            let words = format!("message size {size} is larger than configured max size {MAX_BODY}");
            return Err(Fault::precondition(words));
        }
        let basic::Publish { exchange, routing_key, mandatory, .. } = publish;
        context.vhost.assert_publishable(&exchange)?;
        let Content { properties, body, .. } = content;
        let message = Message::publish(&exchange, &routing_key, &properties, body, context.user)?;
        let message = Arc::new(self.addressed(message)?);
        let queues = context.vhost.route(&exchange, &message);
        let routed = Routed { exchange: message.exchange.clone(), message, mandatory, queues };
        match &mut self.mode {
            Mode::Transaction(transaction) => transaction.publishes.push(routed),
            Mode::Plain => {
                self.route(&routed, context);
            }
            Mode::Confirm(confirms) => {
                let number = confirms.published();
                match self.route(&routed, context) {
                    // Nobody has to be waited for, so the client is told at once.
                    None => {
                        self.mode.confirm(|confirms| confirms.stored(number));
                        self.send_confirms(context);
                    }
                    Some(Verdict::Stored) => context.vhost.notify(self.key, Notice::Stored(number)),
                    Some(Verdict::Refused) => context.vhost.notify(self.key, Notice::Refused(number)),
                }
            }
        }
        Ok(())
    }

    /// Tells the client what is known of its publishes.
    pub(super) fn send_confirms(&mut self, context: &mut Context<'_>) {
        let Mode::Confirm(confirms) = &mut self.mode else { return };
        for confirm in confirms.take() {
            match confirm {
                Confirm::Ack { number, multiple } => {
                    let mut ack = basic::Ack::new(number);
                    ack.multiple = multiple;
                    self.send(context, ack);
                }
                Confirm::Nack { number, multiple } => {
                    let mut nack = basic::Nack::new(number);
                    nack.multiple = multiple;
                    self.send(context, nack);
                }
            }
        }
    }

    pub(super) fn confirm_select(&mut self, select: &confirm::Select, context: &mut Context<'_>) -> Result<(), Fault> {
        match self.mode {
            Mode::Transaction(_) => return Err(Fault::precondition("cannot switch from tx to confirm mode")),
            Mode::Plain => self.mode = Mode::Confirm(Confirms::default()),
            Mode::Confirm(_) => {}
        }
        self.answer(select.is_nowait(), context, confirm::SelectOk::new());
        Ok(())
    }

    pub(super) fn tx_select(&mut self, context: &mut Context<'_>) -> Result<(), Fault> {
        match self.mode {
            Mode::Confirm(_) => return Err(Fault::precondition("cannot switch from confirm to tx mode")),
            Mode::Plain => self.mode = Mode::Transaction(Transaction::default()),
            Mode::Transaction(_) => {}
        }
        self.send(context, tx::SelectOk::new());
        Ok(())
    }

    /// Publishes first, then settles. If anything goes to a queue, the answer waits for the queue's.
    pub(super) fn tx_commit(&mut self, context: &mut Context<'_>) -> Result<(), Fault> {
        let Transaction { publishes, settlements, .. } = self.take_transaction()?;
        let verdicts: Vec<Verdict> = publishes.iter().filter_map(|routed| self.route(routed, context)).collect();
        for (taken, how) in settlements {
            self.settle(taken, how, context);
        }
        if verdicts.is_empty() {
            self.send(context, tx::CommitOk::new());
            return Ok(());
        }
        if let Mode::Transaction(transaction) = &mut self.mode {
            transaction.committing = true;
        }
        let complete = !verdicts.contains(&Verdict::Refused);
        context.vhost.notify(self.key, Notice::Committed { complete });
        Ok(())
    }

    /// The queues have told: the commit is over.
    pub(super) fn committed(&mut self, complete: bool, context: &mut Context<'_>) -> Result<(), Fault> {
        if let Mode::Transaction(transaction) = &mut self.mode {
            transaction.committing = false;
        }
        if !complete {
            return Err(Fault::precondition("partial tx completion"));
        }
        self.send(context, tx::CommitOk::new());
        Ok(())
    }

    /// Drops what was published, and takes back what was settled: it is unacknowledged again.
    pub(super) fn tx_rollback(&mut self, context: &mut Context<'_>) -> Result<(), Fault> {
        let Transaction { settlements, .. } = self.take_transaction()?;
        self.unsettled.restore(settlements.into_iter().flat_map(|(taken, _)| taken));
        self.send(context, tx::RollbackOk::new());
        Ok(())
    }

    fn take_transaction(&mut self) -> Result<Transaction, Fault> {
        match &mut self.mode {
            Mode::Transaction(transaction) => Ok(std::mem::take(transaction)),
            _ => Err(Fault::precondition("channel is not transactional")),
        }
    }

    /// Sends a message to its queues; if there is none, returns it when the client insists.
    fn route(&self, routed: &Routed, context: &mut Context<'_>) -> Option<Verdict> {
        let Routed { message, exchange, mandatory, queues } = routed;
        if exchange.is_empty() {
            // A direct reply is delivered and counts as unroutable all the same.
            context.vhost.reply(message);
        }
        if !queues.is_empty() {
            return Some(context.vhost.publish(message, queues));
        }
        if *mandatory {
            let (exchange, key) = (exchange.clone(), message.routing_key());
            let returned = basic::Return::new(ReplyCode::NO_ROUTE, "NO_ROUTE", exchange, key);
            context.out.send_content(self.key.number, returned, message);
        }
        None
    }

    /// Puts the address of the channel's reply consumer into a message that asks for it.
    fn addressed(&self, message: Message) -> Result<Message, Fault> {
        if !message.wants_direct_reply {
            return Ok(message);
        }
        match &self.reply_consumer {
            Some(consumer) => Ok(message.with_reply_to(consumer.address.clone())),
            None => Err(Fault::precondition("fast reply consumer does not exist")),
        }
    }
}
