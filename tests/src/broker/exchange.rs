//! Exchanges and what is bound to them.

use std::collections::BTreeMap;

use amqp_core::{
    method::exchange,
    wire::{ShortString, Table},
};

use super::{
    arguments,
    fault::{Entity, Fault},
};

/// How an exchange picks the bindings that a message follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By equality of the routing key.
    Direct,
    /// All of them.
    Fanout,
    /// By a pattern of words.
    Topic,
    /// By the headers of the message.
    Headers,
}

impl Kind {
    /// The kind of that name; an unknown one closes the connection.
    pub(super) fn parse(name: &ShortString) -> Result<Self, Fault> {
        match name.as_bytes() {
            b"direct" => Ok(Self::Direct),
            b"fanout" => Ok(Self::Fanout),
            b"topic" => Ok(Self::Topic),
            b"headers" => Ok(Self::Headers),
            b"" => Err(Fault::command_invalid("invalid exchange type ''")),
            _ => Err(Fault::command_invalid(format_args!("unknown exchange type '{name}'"))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
        }
    }
}

/// An exchange.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) kind: Kind,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    /// Reached through bindings only, never by a publisher.
    pub(super) internal: bool,
    pub(super) arguments: Table,
    /// Where messages go that follow no binding.
    pub(super) alternate: Option<ShortString>,
}

impl Exchange {
    /// One of the exchanges that every virtual host has.
    pub(super) fn predeclared(kind: Kind) -> Self {
        let arguments = Table::new();
        Self { kind, durable: true, auto_delete: false, internal: false, arguments, alternate: None }
    }

    /// An exchange as it is declared, its arguments checked.
    pub(super) fn declare(kind: Kind, declare: &exchange::Declare, named: Entity<'_>) -> Result<Self, Fault> {
        Ok(Self {
            kind,
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            internal: declare.internal,
            alternate: arguments::exchange_name(&declare.arguments, "alternate-exchange", named)?,
            arguments: declare.arguments.clone(),
        })
    }

    /// Checks that the exchange is declared again as it is.
    pub(super) fn assert_same(&self, kind: Kind, declare: &exchange::Declare, named: Entity<'_>) -> Result<(), Fault> {
        if kind != self.kind {
            let (received, current) = (format!("'{}'", kind.name()), format!("'{}'", self.kind.name()));
            return Err(Fault::inequivalent("type", named, received, current));
        }
        let flags = [
            ("durable", declare.durable, self.durable),
            ("auto_delete", declare.auto_delete, self.auto_delete),
            ("internal", declare.internal, self.internal),
        ];
        for (flag, received, current) in flags {
            if received != current {
                let (received, current) = (format!("'{received}'"), format!("'{current}'"));
                return Err(Fault::inequivalent(flag, named, received, current));
            }
        }
        arguments::assert_same_exchange(&declare.arguments, &self.arguments, named)
    }
}

/// Where a binding leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Destination {
    Queue(ShortString),
    Exchange(ShortString),
}

/// A way from an exchange to a queue or another exchange.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Binding {
    pub(super) destination: Destination,
    pub(super) key: ShortString,
    pub(super) arguments: Table,
}

/// All bindings of a virtual host, by the exchange that they start from.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings(BTreeMap<ShortString, Vec<Binding>>);

impl Bindings {
    /// Adds a binding, unless it is there already.
    pub(super) fn insert(&mut self, source: &ShortString, binding: Binding) {
        let bindings = self.0.entry(source.clone()).or_default();
        if !bindings.contains(&binding) {
            bindings.push(binding);
        }
    }

    /// Takes a binding away. True if it was there and was the last one of its exchange.
    pub(super) fn remove(&mut self, source: &ShortString, binding: &Binding) -> bool {
        let Some(bindings) = self.0.get_mut(source) else { return false };
        let before = bindings.len();
        bindings.retain(|present| present != binding);
        if bindings.len() == before || !bindings.is_empty() {
            return false;
        }
        self.0.remove(source);
        true
    }

    /// Takes away all bindings that start at an exchange.
    pub(super) fn remove_source(&mut self, source: &ShortString) {
        self.0.remove(source);
    }

    /// Takes away all bindings that lead to `destination`, and names the exchanges that lost their last one.
    pub(super) fn remove_destination(&mut self, destination: &Destination) -> Vec<ShortString> {
        let mut emptied = Vec::new();
        self.0.retain(|source, bindings| {
            let before = bindings.len();
            bindings.retain(|binding| binding.destination != *destination);
            if bindings.is_empty() && before > 0 {
                emptied.push(source.clone());
            }
            !bindings.is_empty()
        });
        emptied
    }

    /// The bindings that start at an exchange.
    pub(super) fn from(&self, source: &ShortString) -> &[Binding] {
        self.0.get(source).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_queue(queue: &str, key: &str) -> Binding {
        let destination = Destination::Queue(queue.into());
        Binding { destination, key: key.into(), arguments: Table::new() }
    }

    #[test]
    fn a_binding_made_twice_is_one_binding() {
        let mut bindings = Bindings::default();
        bindings.insert(&"x".into(), to_queue("q", "k"));
        bindings.insert(&"x".into(), to_queue("q", "k"));
        assert_eq!(bindings.from(&"x".into()).len(), 1);
        assert!(bindings.remove(&"x".into(), &to_queue("q", "k")));
        assert!(!bindings.remove(&"x".into(), &to_queue("q", "k")), "it is gone already");
    }

    #[test]
    fn a_deleted_queue_empties_its_exchanges() {
        let mut bindings = Bindings::default();
        bindings.insert(&"x".into(), to_queue("q", "k"));
        bindings.insert(&"y".into(), to_queue("q", "k"));
        bindings.insert(&"y".into(), to_queue("r", "k"));
        assert_eq!(bindings.remove_destination(&Destination::Queue("q".into())), ["x"]);
    }
}
