//! Errors and events, taken apart for comparison.

use amqp_core::{ChannelError, ConnectionError, Error, Event, Outcome, method::ReplyCode};

/// The code with which the broker closed the channel, if that is the error.
pub(crate) fn soft_code(error: &Error) -> Option<ReplyCode> {
    match error {
        Error::Channel(ChannelError::ClosedByBroker(close)) => Some(close.code),
        _ => None,
    }
}

/// The code with which the broker closed the connection, if that is the error.
pub(crate) fn hard_code(error: &Error) -> Option<ReplyCode> {
    match error {
        Error::Connection(ConnectionError::ClosedByBroker(close)) => Some(close.code),
        _ => None,
    }
}

/// Events as text, with what a test compares: channel, tags, body.
pub(crate) fn told(events: &[Event]) -> Vec<String> {
    events.iter().map(tell).collect()
}

fn tell(event: &Event) -> String {
    match event {
        Event::Opened => "opened".into(),
        Event::Answer(answer) => match answer.error() {
            None => format!("{:?} answered", answer.call()),
            Some(error) => format!("{:?} failed: {error:?}", answer.call()),
        },
        Event::Delivery(delivery) => format!(
            "{} delivery {} for {}: {}",
            delivery.channel(),
            delivery.delivery_tag(),
            delivery.consumer_tag(),
            delivery.body_str().unwrap_or("not UTF-8")
        ),
        Event::Returned(message) => format!(
            "{} returned {}: {}",
            message.channel(),
            message.reply_code().0,
            message.body_str().unwrap_or("not UTF-8")
        ),
        Event::Settled(settled) => {
            let (channel, numbers) = (settled.channel, &settled.delivery_tags);
            match &settled.outcome {
                Outcome::Acked => format!("{channel} {numbers:?} acked"),
                Outcome::Nacked => format!("{channel} {numbers:?} nacked"),
                Outcome::Returned(message) => format!("{channel} {numbers:?} returned {}", message.reply_code().0),
                Outcome::Rejected(_) => format!("{channel} {numbers:?} rejected"),
                Outcome::NotExecuted(_) => format!("{channel} {numbers:?} not executed"),
                Outcome::Unknown(_) => format!("{channel} {numbers:?} unknown"),
                other => format!("{channel} {numbers:?} {other:?}"),
            }
        }
        Event::ConsumerCancelled { channel, consumer_tag, by_broker: true } => {
            format!("{channel} cancelled {consumer_tag}")
        }
        Event::ConsumerCancelled { channel, consumer_tag, .. } => format!("{channel} ended {consumer_tag}"),
        Event::Flow { channel, active } => format!("{channel} flow {active}"),
        Event::Blocked { reason } => format!("blocked: {reason}"),
        Event::Unblocked => "unblocked".into(),
        Event::Oversized { channel, size } => format!("{channel} oversized {size}"),
        Event::ChannelClosed { channel, error } => format!("{channel} closed: {error:?}"),
        Event::Closed(error) => format!("closed: {error:?}"),
        other => format!("{other:?}"),
    }
}
