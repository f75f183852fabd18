//! Faults: what the broker refuses, where it is reported, and what it leaves alone. One test for each rule.

mod support;

use std::time::Duration;

use amqp_core::{
    Cause, ChannelError, ChannelId, Config, ConnectionError, Error, Event, Publish,
    method::{MethodId, ReplyCode, basic, confirm, connection, queue},
};
use bytes::BytesMut;

use self::support::{
    Peer, content, delivery, method_frame, octets,
    script::{hard_code, soft_code, told},
    tune,
};

/// An open channel with a consumer `t`.
fn peer_with_consumer(config: Config) -> (Peer, ChannelId) {
    let mut peer = Peer::tuned(config, tune());
    let id = peer.open_channel();
    let consuming = peer.channel(id).call(basic::Consume::new("q").consumer_tag("t")).unwrap();
    peer.send(1, basic::ConsumeOk::new("t"));
    peer.claim(consuming).unwrap();
    peer.wrote();
    (peer, id)
}

/// Every kind of operation on a channel, and what it fails with.
fn operations(peer: &mut Peer, id: ChannelId) -> Vec<Option<Error>> {
    let mut channel = peer.channel(id);
    vec![
        channel.check().err(),
        channel.publish(Publish::new("", "q").body("x")).err(),
        channel.send(basic::Ack::new(1)).err(),
        channel.send(queue::Delete::new("q").nowait()).err(),
        channel.call(queue::Declare::new("q")).err(),
        channel.get(basic::Get::new("q")).err(),
        channel.consume(basic::Consume::new("q")).err(),
        channel.close().err(),
        channel.check().err(),
    ]
}

#[test]
fn a_fault_is_kept_whole_and_returned_by_every_later_operation() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    peer.channel(id).publish(Publish::new("nope", "key")).unwrap();
    peer.wrote();
    peer.close_channel(1, ReplyCode::NOT_FOUND);
    assert_eq!(peer.wrote(), ["1 channel.close-ok"]);
    let Event::ChannelClosed { channel, error: ChannelError::ClosedByBroker(close) } = peer.event() else {
        panic!("the end of the channel is told")
    };
    assert_eq!((channel, close.code, &*close.text), (id, ReplyCode::NOT_FOUND, "something is wrong"));
    assert_eq!(close.method, Some(MethodId::new(60, 40)));
    let fault = Some(Error::Channel(ChannelError::ClosedByBroker(close)));
    assert!(operations(&mut peer, id).iter().all(|error| *error == fault));
    assert_eq!(peer.wrote(), [""; 0]);
}

#[test]
fn a_fault_answers_all_pending_calls_in_their_order_at_once() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    let mut calls = vec![peer.channel(id).call(basic::Qos::new(1)).unwrap().call()];
    for number in 0..10 {
        calls.push(peer.channel(id).call(queue::Declare::new(format!("q{number}"))).unwrap().call());
        calls.push(peer.channel(id).get(basic::Get::new("q")).unwrap().call());
    }
    let abandoned = peer.channel(id).call(basic::Qos::new(2)).unwrap();
    peer.client.abandon(abandoned);
    calls.push(peer.channel(id).close().unwrap().call());
    peer.close_channel(1, ReplyCode::ACCESS_REFUSED);
    let events = peer.events();
    let (last, answers) = events.split_last().unwrap();
    assert!(matches!(last, Event::ChannelClosed { .. }));
    let answered = answers.iter().map(|event| match event {
        Event::Answer(answer) if answer.error().and_then(soft_code) == Some(ReplyCode::ACCESS_REFUSED) => answer.call(),
        other => panic!("{other:?}"),
    });
    assert_eq!(answered.collect::<Vec<_>>(), calls);
    assert_eq!(peer.channel(id).pending_calls(), 0);
}

#[test]
fn an_unreported_fault_is_returned_by_close_and_by_the_end_of_the_channel() {
    let fault = |peer: &mut Peer| {
        let id = peer.open_channel();
        peer.close_channel(id.number(), ReplyCode::NOT_FOUND);
        peer.wrote();
        id
    };
    let mut peer = Peer::open();
    let id = fault(&mut peer);
    assert_eq!(soft_code(&peer.channel(id).close().unwrap_err()), Some(ReplyCode::NOT_FOUND));
    assert_eq!(peer.client.release(id), None, "close has reported it");
    let id = fault(&mut peer);
    assert_eq!(peer.client.release(id).as_ref().and_then(soft_code), Some(ReplyCode::NOT_FOUND));
}

#[test]
fn a_fault_that_arrives_behind_the_release_is_told_by_an_event() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    assert_eq!(peer.client.release(id), None);
    peer.close_channel(1, ReplyCode::NOT_FOUND);
    assert!(matches!(peer.event(), Event::ChannelClosed { channel, .. } if channel == id));
}

#[test]
fn a_soft_fault_touches_no_other_channel() {
    let mut peer = Peer::open();
    let (faulted, other) = (peer.open_channel(), peer.open_channel());
    let call = peer.channel(other).call(queue::Declare::new("q")).unwrap();
    peer.channel(other).publish(Publish::new("", "q").body(vec![1; 300_000])).unwrap();
    peer.close_channel(faulted.number(), ReplyCode::NOT_FOUND);
    assert_eq!(peer.events().len(), 1);
    let mut wrote = peer.wrote();
    wrote.iter_mut().for_each(|frame| frame.truncate(20));
    let body = "2 body \u{1}".to_string() + &"\u{1}".repeat(12);
    assert_eq!(wrote[..2], ["2 queue.declare", "1 channel.close-ok"]);
    assert_eq!(wrote[2..], ["2 basic.publish", "2 header 300000", &body, &body, &body]);
    assert_eq!(peer.channel(other).check(), Ok(()));
    peer.send(2, queue::DeclareOk::new("q", 0, 0));
    assert!(peer.claim(call).is_ok());
}

#[test]
fn a_hard_fault_is_seen_by_every_channel() {
    let mut peer = Peer::open();
    let ids = [(); 3].map(|()| peer.open_channel());
    let calls = ids.map(|id| peer.channel(id).call(basic::Qos::new(1)).unwrap());
    peer.wrote();
    peer.close_connection(ReplyCode::NOT_IMPLEMENTED);
    assert_eq!(peer.wrote(), ["0 connection.close-ok"]);
    for call in calls {
        assert_eq!(hard_code(&peer.claim(call).unwrap_err()), Some(ReplyCode::NOT_IMPLEMENTED));
    }
    let ConnectionError::ClosedByBroker(close) = peer.end() else { panic!("the broker closed it") };
    assert_eq!(close.method, Some(MethodId::new(60, 40)));
    let fault = Some(Error::Connection(ConnectionError::ClosedByBroker(close)));
    for id in ids {
        assert!(operations(&mut peer, id).iter().all(|error| *error == fault));
    }
    assert_eq!(peer.client.open_channel().err(), fault);
    assert_eq!(peer.wrote(), [""; 0]);
}

#[test]
fn a_channel_that_failed_before_the_connection_keeps_its_own_fault() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    peer.close_channel(1, ReplyCode::NOT_FOUND);
    peer.close_connection(ReplyCode::CONNECTION_FORCED);
    assert_eq!(soft_code(&peer.channel(id).check().unwrap_err()), Some(ReplyCode::NOT_FOUND));
}

#[test]
fn a_return_and_a_nack_are_no_faults() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    peer.channel(id).send(confirm::Select::new().nowait()).unwrap();
    peer.channel(id).publish(Publish::new("", "nobody").mandatory()).unwrap();
    peer.channel(id).publish(Publish::new("", "full")).unwrap();
    peer.send(1, basic::Return::new(ReplyCode::NO_ROUTE, "NO_ROUTE", "", "nobody"));
    peer.send_frames(&content(1, ""));
    peer.send_frames(&[method_frame(1, basic::Ack::new(1)), method_frame(1, basic::Nack::new(2))]);
    assert_eq!(told(&peer.events()), ["1 1..=1 returned 312", "1 2..=2 nacked"]);
    assert_eq!(peer.channel(id).check(), Ok(()));
}

#[test]
fn every_wait_has_a_deadline() {
    let waits: [(&str, Peer); 4] = [
        ("handshake", Peer::greeted(Config::default())),
        ("call", {
            let mut peer = Peer::tuned(Config::default().heartbeat(0), tune());
            let (_, _opening) = peer.client.open_channel().unwrap();
            peer
        }),
        ("close", {
            let mut peer = Peer::tuned(Config::default().heartbeat(0), tune());
            peer.client.close(ReplyCode::REPLY_SUCCESS, "");
            peer
        }),
        ("write stall", {
            let mut peer = Peer::tuned(Config::default().heartbeat(0), tune());
            let id = peer.open_channel();
            peer.channel(id).send(basic::Ack::new(1)).unwrap();
            peer.reads = false;
            peer
        }),
    ];
    for (wait, mut peer) in waits {
        peer.pass(Duration::from_secs(180));
        assert_eq!(peer.events().len(), 1, "{wait}");
    }
}

#[test]
fn what_was_received_is_processed_before_the_loss_is_reported() {
    let (mut peer, id) = peer_with_consumer(Config::default());
    let call = peer.channel(id).call(basic::Qos::new(1)).unwrap();
    let frames = [
        delivery(1, "t", 1, "last words"),
        vec![method_frame(0, connection::Close::new(ReplyCode::CONNECTION_FORCED, "shutdown"))],
    ];
    let mut input = BytesMut::from(&octets(&frames.concat())[..]);
    let now = peer.instant();
    peer.client.receive(&mut input, now);
    peer.client.disconnected(Cause::new("connection reset by peer"), now);
    assert_eq!(hard_code(&peer.claim(call).unwrap_err()), Some(ReplyCode::CONNECTION_FORCED));
    let events = peer.events();
    assert!(
        matches!(&events[..], [Event::Delivery(_), Event::Closed(ConnectionError::ClosedByBroker(_))]),
        "{events:?}"
    );
    assert!(!peer.client.wants_write());
}
