//! Messages and notices from the server: how content is put together, and what may not come between.

mod support;

use amqp_core::{
    ChannelId, Config, Error, Event, Misuse, Publish, Violation,
    frame::{ContentHeader, Frame},
    method::{Properties, ReplyCode, basic, channel, confirm, connection},
};
use bytes::Bytes;

use self::support::{Peer, body_frame, content, delivery, header_frame, method_frame, script::told, tune};

/// An open channel with a consumer `t`; what was written for it is out of the way.
fn consumer(peer: &mut Peer) -> ChannelId {
    let id = peer.open_channel();
    let consume = basic::Consume::new("q").consumer_tag("t");
    let consuming = peer.channel(id).call(consume).unwrap();
    peer.send(id.number(), basic::ConsumeOk::new("t"));
    peer.claim(consuming).unwrap();
    peer.wrote();
    id
}

fn peer_with_consumer() -> (Peer, ChannelId) {
    let mut peer = Peer::open();
    let id = consumer(&mut peer);
    (peer, id)
}

#[test]
fn a_delivery_carries_all_that_was_sent() {
    let (mut peer, id) = peer_with_consumer();
    let properties = Properties::new().content_type("text/plain").message_id("42").persistent();
    peer.send(1, basic::Deliver::new("t", 7, true, "logs", "app.start"));
    peer.send_frame(&Frame::header(1, &ContentHeader::new(5, &properties).unwrap()));
    peer.send_frame(&body_frame(1, "hello"));
    let Event::Delivery(delivery) = peer.event() else { panic!("a delivery is due") };
    assert_eq!((delivery.channel(), delivery.delivery_tag(), delivery.redelivered()), (id, 7, true));
    assert_eq!((delivery.consumer_tag().as_bytes(), delivery.no_ack()), (&b"t"[..], false));
    assert_eq!((delivery.exchange().as_bytes(), delivery.routing_key().as_bytes()), (&b"logs"[..], &b"app.start"[..]));
    assert_eq!(delivery.properties(), Ok(properties));
    assert_eq!(delivery.body_str(), Ok("hello"));
    assert_eq!(delivery.detach(), delivery);
    assert_eq!(peer.wrote(), [""; 0], "nothing is acknowledged by itself");
}

#[test]
fn contents_of_several_channels_may_be_interleaved() {
    let mut peer = Peer::open();
    consumer(&mut peer);
    consumer(&mut peer);
    peer.send_frames(&[
        method_frame(1, basic::Deliver::new("t", 1, false, "", "q")),
        method_frame(2, basic::Deliver::new("t", 1, false, "", "q")),
        Frame::heartbeat(),
        header_frame(2, 6),
        header_frame(1, 5),
        body_frame(2, "sec"),
        method_frame(0, connection::Blocked::new("low on memory")),
        body_frame(1, "first"),
        body_frame(2, "ond"),
    ]);
    let expected = ["blocked: low on memory", "1 delivery 1 for t: first", "2 delivery 1 for t: second"];
    assert_eq!(told(&peer.events()), expected);
}

#[test]
fn bodies_come_in_parts_of_any_size() {
    let (mut peer, _) = peer_with_consumer();
    peer.send(1, basic::Deliver::new("t", 1, false, "", "q"));
    peer.send_frame(&header_frame(1, 5));
    for part in ["", "h", "", "el", "lo"] {
        assert_eq!(peer.events(), []);
        peer.send_frame(&body_frame(1, part));
    }
    assert_eq!(told(&peer.events()), ["1 delivery 1 for t: hello"]);
}

#[test]
fn a_message_without_a_body_is_whole_with_its_header() {
    let (mut peer, _) = peer_with_consumer();
    peer.deliver(1, "t", 1, "");
    assert_eq!(told(&peer.events()), ["1 delivery 1 for t: "]);
}

/// What the server sends on a channel with a consumer `t`, and the violation it is.
#[test]
fn frames_of_a_message_out_of_order_are_violations() {
    let announce = || method_frame(1, basic::Deliver::new("t", 1, false, "", "q"));
    let order = || Violation::ContentOrder { channel: 1 };
    let ack = || method_frame(1, basic::Ack::new(1));
    let cases: Vec<(&str, Vec<Frame>, Violation)> = vec![
        ("header alone", vec![header_frame(1, 1)], order()),
        ("body alone", vec![body_frame(1, "x")], order()),
        ("method for header", vec![announce(), ack()], order()),
        ("second delivery for header", vec![announce(), announce()], order()),
        ("body for header", vec![announce(), body_frame(1, "x")], order()),
        ("second header", vec![announce(), header_frame(1, 1), header_frame(1, 1)], order()),
        ("method for body", vec![announce(), header_frame(1, 2), body_frame(1, "x"), ack()], order()),
        (
            "body of a message without one",
            [vec![announce()], content(1, ""), vec![body_frame(1, "")]].concat(),
            order(),
        ),
        ("body of a whole message", [delivery(1, "t", 1, "x"), vec![body_frame(1, "")]].concat(), order()),
        (
            "body that is too long",
            vec![announce(), header_frame(1, 1), body_frame(1, "xx")],
            Violation::BodyOverrun { channel: 1 },
        ),
        ("header on channel 0", vec![header_frame(0, 1)], Violation::ContentOrder { channel: 0 }),
        ("body on channel 0", vec![body_frame(0, "x")], Violation::ContentOrder { channel: 0 }),
        ("header of another class", vec![announce(), foreign_header(50, 0)], Violation::ContentHeader { channel: 1 }),
        ("header with a weight", vec![announce(), foreign_header(60, 1)], Violation::ContentHeader { channel: 1 }),
    ];
    for (name, frames, violation) in cases {
        let (mut peer, id) = peer_with_consumer();
        let pending = peer.channel(id).call(basic::Qos::new(1)).unwrap();
        peer.wrote();
        let violating = frames.len() - 1;
        peer.send_frames(&frames[..violating]);
        assert!(peer.client.is_open(), "{name}");
        peer.events();
        peer.send_frame(&frames[violating]);
        let close = peer.wrote_method();
        let amqp_core::method::AnyMethod::ConnectionClose(close) = close else { panic!("{name}: {close:?}") };
        assert_eq!(close.reply_code, ReplyCode::UNEXPECTED_FRAME, "{name}");
        assert_eq!(peer.claim(pending), Err(Error::Connection(violation.clone().into())), "{name}");
        assert_eq!(peer.end(), violation.into(), "{name}");
    }
}

fn foreign_header(class: u16, weight: u16) -> Frame {
    let payload = [&class.to_be_bytes()[..], &weight.to_be_bytes(), &[0; 10]].concat();
    Frame { payload: Bytes::from(payload), ..header_frame(1, 0) }
}

#[test]
fn a_size_that_never_ends_is_a_violation() {
    for size in [1 << 63, u64::MAX] {
        let (mut peer, _) = peer_with_consumer();
        peer.send(1, basic::Deliver::new("t", 1, false, "", "q"));
        peer.send_frame(&Frame::header(1, &ContentHeader::with_encoded(size, Bytes::from_static(&[0, 0]))));
        assert_eq!(peer.wrote(), ["0 connection.close"]);
        assert_eq!(peer.end(), Violation::BodySize { size, channel: 1 }.into());
    }
}

#[test]
fn an_announced_size_allocates_nothing_and_the_channel_may_end_inside() {
    let (mut peer, id) = peer_with_consumer();
    peer.send(1, basic::Deliver::new("t", 1, false, "", "q"));
    peer.send_frame(&header_frame(1, 100 * 1024 * 1024));
    peer.send_frame(&body_frame(1, "only this"));
    peer.close_channel(1, ReplyCode::PRECONDITION_FAILED);
    assert_eq!(peer.wrote(), ["1 channel.close-ok"]);
    assert!(matches!(peer.event(), Event::ChannelClosed { channel, .. } if channel == id));
}

#[test]
fn half_received_messages_of_all_channels_together_are_limited() {
    let limit = 10_000;
    let config = Config::default().assembly_limit(limit).channel_max(100);
    let mut peer = Peer::tuned(config, tune());
    for number in 1..=100 {
        consumer(&mut peer);
        peer.send(number, basic::Deliver::new("t", 1, false, "", "q"));
        peer.send_frames(&[header_frame(number, 2000), body_frame(number, &"x".repeat(1000))]);
        if peer.client.is_closed() || !peer.events().is_empty() {
            // Whatever is done about it, it is done in time.
            return;
        }
    }
    panic!("100000 octets are kept, {limit} were allowed");
}

#[test]
fn content_frames_may_end_at_the_close_of_the_channel() {
    for frames in [0, 1, 2] {
        let (mut peer, _) = peer_with_consumer();
        peer.send_frames(&delivery(1, "t", 1, "hello")[..=frames]);
        peer.events();
        peer.close_channel(1, ReplyCode::PRECONDITION_FAILED);
        assert_eq!(peer.wrote(), ["1 channel.close-ok"]);
        assert_eq!(peer.events().len(), 1);
    }
}

#[test]
fn a_returned_message_is_told_with_its_reason() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    peer.channel(id).publish(Publish::new("logs", "nobody").body("hello").mandatory()).unwrap();
    peer.send(1, basic::Return::new(ReplyCode::NO_ROUTE, "NO_ROUTE", "logs", "nobody"));
    peer.send_frames(&content(1, "hello"));
    let Event::Returned(message) = peer.event() else { panic!("a returned message is due") };
    assert_eq!((message.reply_code(), message.reply_text().as_bytes()), (ReplyCode::NO_ROUTE, &b"NO_ROUTE"[..]));
    assert_eq!((message.exchange().as_bytes(), message.routing_key().as_bytes()), (&b"logs"[..], &b"nobody"[..]));
    assert_eq!((message.channel(), message.body_str()), (id, Ok("hello")));
    assert!(peer.channel(id).check().is_ok(), "a return is no fault of the channel");
}

#[test]
fn confirms_are_told_and_impossible_ones_are_violations() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    peer.channel(id).publish(Publish::new("", "before")).unwrap();
    let _selecting = peer.channel(id).call(confirm::Select::new()).unwrap();
    for number in 1..=3 {
        let receipt = peer.channel(id).publish(Publish::new("", "q")).unwrap();
        assert_eq!(receipt.delivery_tag, Some(number));
    }
    peer.send(1, confirm::SelectOk::new());
    peer.events();
    peer.send(1, basic::Ack::new(2).multiple());
    peer.send(1, basic::Nack::new(3));
    peer.send(1, basic::Ack::new(2));
    peer.send(1, basic::Ack::new(0).multiple());
    assert_eq!(told(&peer.events()), ["1 1..=2 acked", "1 3..=3 nacked"]);
    peer.send(1, basic::Ack::new(4));
    assert!(matches!(peer.end(), amqp_core::ConnectionError::Violation(Violation::UnexpectedReply { .. })));
}

#[test]
fn a_confirm_on_a_channel_without_confirms_is_a_violation() {
    let mut peer = Peer::open();
    peer.open_channel();
    peer.send(1, basic::Ack::new(1));
    assert!(matches!(peer.end(), amqp_core::ConnectionError::Violation(Violation::UnexpectedReply { .. })));
}

#[test]
fn flow_is_answered_and_holds_publishing_only() {
    let mut peer = Peer::open();
    let (id, other) = (peer.open_channel(), peer.open_channel());
    peer.send(1, channel::Flow::new(false));
    assert_eq!(peer.wrote_method(), channel::FlowOk::new(false).into());
    assert_eq!(peer.event(), Event::Flow { channel: id, active: false });
    assert_eq!(peer.channel(id).publish(Publish::new("", "q")).err(), Some(Error::WouldBlock));
    assert!(peer.channel(id).send(basic::Ack::new(1)).is_ok());
    assert!(peer.channel(other).publish(Publish::new("", "q")).is_ok());
    peer.wrote();
    peer.send(1, channel::Flow::new(true));
    assert_eq!(peer.wrote_method(), channel::FlowOk::new(true).into());
    assert!(peer.channel(id).publish(Publish::new("", "q")).is_ok());
}

#[test]
fn blocked_and_unblocked_are_told_and_remembered() {
    let mut peer = Peer::open();
    peer.send(0, connection::Unblocked::new());
    assert_eq!((peer.events().len(), peer.client.is_blocked()), (0, false));
    peer.send(0, connection::Blocked::new("low on memory"));
    assert_eq!(peer.event(), Event::Blocked { reason: "low on memory".into() });
    assert!(peer.client.is_blocked());
    peer.send(0, connection::Unblocked::new());
    peer.send(0, connection::Unblocked::new());
    assert_eq!(peer.event(), Event::Unblocked);
    assert!(!peer.client.is_blocked());
}

#[test]
fn a_consumer_cancelled_by_the_broker_is_told_and_its_tag_is_free() {
    let (mut peer, id) = peer_with_consumer();
    let consume = || basic::Consume::new("q").consumer_tag("t");
    let in_use = Error::Misuse(Misuse::ConsumerTagInUse("t".into()));
    assert_eq!(peer.channel(id).call(consume()).err(), Some(in_use));
    send_silent_cancel(&mut peer, "t");
    assert_eq!(peer.event(), Event::ConsumerCancelled { channel: id, consumer_tag: "t".into(), by_broker: true });
    assert_eq!(peer.wrote(), [""; 0], "a silent cancel is not answered");
    assert!(peer.channel(id).call(consume()).is_ok());
}

#[test]
fn a_cancel_for_an_unknown_consumer_is_ignored() {
    let (mut peer, _) = peer_with_consumer();
    send_silent_cancel(&mut peer, "nobody");
    assert_eq!((peer.events().len(), peer.wrote().len()), (0, 0));
    // Only a server that wants an answer gets one.
    peer.send(1, basic::Cancel::new("nobody"));
    assert_eq!(peer.wrote(), ["1 basic.cancel-ok"]);
}

fn send_silent_cancel(peer: &mut Peer, tag: &str) {
    let cancel: amqp_core::method::AnyMethod = basic::Cancel::new(tag).nowait().into();
    peer.send(1, cancel);
}

#[test]
fn a_cancel_of_the_broker_may_cross_ours() {
    let (mut peer, id) = peer_with_consumer();
    let cancelling = peer.channel(id).call(basic::Cancel::new("t")).unwrap();
    send_silent_cancel(&mut peer, "t");
    peer.send(1, basic::CancelOk::new("t"));
    assert_eq!(peer.claim(cancelling), Ok(basic::CancelOk::new("t")));
    assert_eq!(told(&peer.events()), ["1 cancelled t"]);
}

#[test]
fn deliveries_between_cancel_and_cancel_ok_are_handed_out() {
    let (mut peer, id) = peer_with_consumer();
    let cancelling = peer.channel(id).call(basic::Cancel::new("t")).unwrap();
    peer.wrote();
    peer.deliver(1, "t", 1, "last");
    peer.send(1, basic::CancelOk::new("t"));
    assert!(peer.claim(cancelling).is_ok());
    assert_eq!(told(&peer.events()), ["1 delivery 1 for t: last", "1 ended t"]);
    assert_eq!(peer.wrote(), [""; 0]);
}

#[test]
fn deliveries_behind_a_silent_cancel_go_back_to_the_queue() {
    for (no_ack, answer) in [(false, vec!["1 basic.nack"]), (true, vec![])] {
        let mut peer = Peer::open();
        let id = peer.open_channel();
        let consume = basic::Consume::new("q").consumer_tag("t");
        let consume = if no_ack { consume.no_ack() } else { consume };
        let consuming = peer.channel(id).call(consume).unwrap();
        peer.send(1, basic::ConsumeOk::new("t"));
        peer.claim(consuming).unwrap();
        peer.channel(id).send(basic::Cancel::new("t").nowait()).unwrap();
        peer.wrote();
        peer.deliver(1, "t", 1, "late");
        assert_eq!(peer.wrote(), answer);
        assert_eq!(told(&peer.events()), ["1 ended t"]);
    }
}

#[test]
fn a_delivery_for_an_unknown_consumer_goes_back_to_the_queue() {
    let (mut peer, _) = peer_with_consumer();
    peer.deliver(1, "nobody", 9, "hello");
    assert_eq!(peer.wrote_method(), basic::Nack::new(9).into());
    assert_eq!(told(&peer.events()), [""; 0]);
}

#[test]
fn reading_stops_while_nobody_takes_the_messages() {
    let mut peer = Peer::tuned(Config::default().event_limit(10_000), tune());
    consumer(&mut peer);
    assert!(peer.client.wants_read());
    for tag in 1..=10 {
        peer.deliver(1, "t", tag, &"x".repeat(1000));
    }
    assert!(!peer.client.wants_read());
    assert!(matches!(peer.client.poll_event(), Some(Event::Delivery(_))));
    peer.events();
    assert!(peer.client.wants_read());
}
