//! What becomes of publishes: one outcome for each, the culprit of a fault by name, and a window that is a bound.

mod support;

use amqp_core::{
    ChannelError, ChannelId, Error, Event, Outcome, Publish,
    connection::{Outcomes, Window},
    method::{AnyMethod, ReplyCode, basic, channel, confirm, queue},
};
use support::{
    Peer, content,
    script::{soft_code, told},
};

fn confirming() -> (Peer, ChannelId) {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    peer.channel(id).send(confirm::Select::new().nowait()).unwrap();
    (peer, id)
}

fn publish(peer: &mut Peer, id: ChannelId, exchange: &str, count: usize) {
    for _ in 0..count {
        peer.channel(id).publish(Publish::new(exchange, "key").body("body")).unwrap();
    }
}

fn reject(peer: &mut Peer, exchange: &str) {
    let text = format!("NOT_FOUND - no exchange '{exchange}' in vhost '/'");
    let mut close = channel::Close::new(ReplyCode::NOT_FOUND, text);
    (close.class_id, close.method_id) = (60, 40);
    peer.send(1, close);
}

#[test]
fn a_rejected_publish_divides_the_unconfirmed_ones() {
    let (mut peer, id) = confirming();
    publish(&mut peer, id, "good", 4);
    publish(&mut peer, id, "bad", 1);
    publish(&mut peer, id, "good", 3);
    peer.send(1, basic::Ack::new(2));
    reject(&mut peer, "bad");
    let told = told(&peer.events());
    let expected = ["1 2..=2 acked", "1 1..=1 unknown", "1 3..=4 unknown", "1 5..=5 rejected", "1 6..=8 not executed"];
    assert_eq!(told[..5], expected);
    assert!(told[5].starts_with("1 closed"), "{told:?}");
}

#[test]
fn every_publish_is_unknown_when_the_link_dies() {
    let (mut peer, id) = confirming();
    publish(&mut peer, id, "x", 3);
    peer.client.disconnected(amqp_core::Cause::end_of_stream(), amqp_core::Instant::ORIGIN);
    assert_eq!(told(&peer.events())[0], "1 1..=3 unknown");
}

#[test]
fn unconfirmed_publishes_are_unknown_when_the_channel_is_closed_by_us() {
    let (mut peer, id) = confirming();
    publish(&mut peer, id, "x", 2);
    let closing = peer.channel(id).close().unwrap();
    peer.send(1, basic::Ack::new(1));
    peer.send(1, channel::CloseOk::new());
    assert!(peer.claim(closing).is_ok());
    assert_eq!(told(&peer.events()), ["1 1..=1 acked", "1 2..=2 unknown"]);
}

#[test]
fn a_message_that_came_back_is_returned_even_if_its_confirm_never_comes() {
    let (mut peer, id) = confirming();
    for key in ["here", "nowhere", "here"] {
        peer.channel(id).publish(Publish::new("", key).mandatory()).unwrap();
    }
    peer.send(1, basic::Return::new(ReplyCode::NO_ROUTE, "NO_ROUTE", "", "nowhere"));
    peer.send_frames(&content(1, ""));
    peer.close_channel(1, ReplyCode::PRECONDITION_FAILED);
    assert_eq!(told(&peer.events())[..3], ["1 1..=1 unknown", "1 2..=2 returned 312", "1 3..=3 unknown"]);
}

#[test]
fn the_fault_names_the_publish_and_what_was_lost_behind_it() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    publish(&mut peer, id, "good", 2);
    peer.channel(id).publish(Publish::new("bad", "this.one")).unwrap();
    publish(&mut peer, id, "good", 3);
    reject(&mut peer, "bad");
    let error = peer.channel(id).check().unwrap_err();
    assert_eq!(soft_code(&error), Some(ReplyCode::NOT_FOUND));
    let culprit = error.close().unwrap().culprit.as_ref().unwrap();
    assert_eq!((culprit.number, culprit.discarded), (3, 3));
    assert_eq!(
        (culprit.exchange.to_string(), culprit.routing_key.as_ref().unwrap().to_string()),
        ("bad".into(), "this.one".into())
    );
    assert!(error.to_string().contains(r#"publish 3 to exchange "bad" with routing key "this.one""#), "{error}");
}

#[test]
fn an_answer_to_a_later_call_clears_what_was_published_before() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    publish(&mut peer, id, "x", 1);
    let call = peer.channel(id).call(queue::Declare::new("q")).unwrap();
    peer.send(1, queue::DeclareOk::new("q", 0, 0));
    assert!(peer.claim(call).is_ok());
    publish(&mut peer, id, "x", 2);
    reject(&mut peer, "x");
    let error = peer.channel(id).check().unwrap_err();
    assert_eq!(error.close().unwrap().culprit.as_ref().map(|culprit| (culprit.number, culprit.last)), Some((2, 3)));
}

#[test]
fn a_fault_of_another_method_blames_no_publish() {
    let (mut peer, id) = confirming();
    publish(&mut peer, id, "x", 1);
    let mut close = channel::Close::new(ReplyCode::PRECONDITION_FAILED, "PRECONDITION_FAILED - unknown delivery tag 9");
    (close.class_id, close.method_id) = (60, 80);
    peer.send(1, close);
    let error = peer.channel(id).check().unwrap_err();
    assert_eq!(error.close().unwrap().culprit, None);
    assert_eq!(told(&peer.events())[0], "1 1..=1 unknown");
}

#[test]
fn a_window_by_count_is_a_bound() {
    let (mut peer, id) = confirming();
    peer.channel(id).set_window(Window::count(2));
    publish(&mut peer, id, "x", 2);
    let attempt =
        |peer: &mut Peer| peer.channel(id).publish(Publish::new("x", "key")).map(|receipt| receipt.delivery_tag);
    assert_eq!(attempt(&mut peer), Err(Error::WouldBlock));
    assert_eq!(peer.channel(id).unconfirmed(), 2);
    peer.send(1, basic::Ack::new(2));
    assert_eq!(attempt(&mut peer), Ok(Some(3)), "a refused publish has used up no number");
    assert_eq!(attempt(&mut peer), Err(Error::WouldBlock));
    peer.send(1, basic::Nack::new(0).multiple());
    assert_eq!((peer.channel(id).unconfirmed(), attempt(&mut peer)), (0, Ok(Some(4))));
}

#[test]
fn a_window_by_octets_lets_a_single_large_message_through() {
    let (mut peer, id) = confirming();
    peer.channel(id).set_window(Window::octets(1000));
    let attempt =
        |peer: &mut Peer, size| peer.channel(id).publish(Publish::new("x", "key").body(vec![0; size])).map(|_| ());
    assert_eq!(attempt(&mut peer, 2000), Ok(()));
    assert_eq!(attempt(&mut peer, 1), Err(Error::WouldBlock));
    peer.send(1, basic::Ack::new(1));
    assert_eq!(attempt(&mut peer, 400), Ok(()));
    assert_eq!(attempt(&mut peer, 400), Ok(()));
    assert_eq!(attempt(&mut peer, 400), Err(Error::WouldBlock));
}

#[test]
fn a_fault_ends_a_full_window_with_its_cause() {
    let (mut peer, id) = confirming();
    peer.channel(id).set_window(Window::count(1));
    publish(&mut peer, id, "bad", 1);
    reject(&mut peer, "bad");
    let refused = peer.channel(id).publish(Publish::new("x", "key")).unwrap_err();
    assert!(matches!(refused, Error::Channel(ChannelError::ClosedByBroker(_))));
}

#[test]
fn several_that_may_be_to_blame_are_unknown() {
    let (mut peer, id) = confirming();
    for exchange in ["good", "gone", "good", "gone", "good"] {
        publish(&mut peer, id, exchange, 1);
    }
    reject(&mut peer, "gone");
    let told = told(&peer.events());
    assert_eq!(told[..3], ["1 1..=3 unknown", "1 4..=4 unknown", "1 5..=5 not executed"]);
}

#[test]
fn an_outcome_stays_for_whoever_asks_and_is_listed_once() {
    let (mut peer, id) = confirming();
    publish(&mut peer, id, "x", 6);
    peer.send(1, basic::Ack::new(1));
    peer.send(1, basic::Nack::new(5).multiple());
    peer.send(1, basic::Ack::new(6));
    let mut outcomes = Outcomes::default();
    for event in peer.events() {
        if let Event::Settled(settled) = event {
            outcomes.record(&settled);
        }
    }
    let listed: Vec<_> = outcomes.take_failures().into_iter().map(|(numbers, _)| numbers).collect();
    assert_eq!(listed, [2..=5]);
    assert_eq!(outcomes.take_failures(), []);
    let acked: Vec<_> = (1..=6).map(|number| outcomes.of(number).unwrap().is_acked()).collect();
    assert_eq!(acked, [true, false, false, false, false, true]);
}

#[test]
fn an_outcome_that_was_forgotten_is_no_success() {
    let (mut peer, id) = confirming();
    let mut outcomes = Outcomes::default();
    // Every other one is nacked, so that each is a range of its own.
    for number in 1..=20_000 {
        publish(&mut peer, id, "x", 1);
        peer.send(
            1,
            if number % 2 == 1 { basic::Nack::new(number).into() } else { AnyMethod::from(basic::Ack::new(number)) },
        );
        for event in peer.events() {
            if let Event::Settled(settled) = event {
                outcomes.record(&settled);
            }
        }
    }
    assert_eq!(outcomes.of(1), None);
    assert_eq!(outcomes.of(19_999), Some(Outcome::Nacked));
    assert_eq!(outcomes.of(20_000), Some(Outcome::Acked));
}
