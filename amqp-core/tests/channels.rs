//! The life of a channel: opening, closing by either side and by both at once, and what becomes of its number.

mod support;

use amqp_core::{
    ChannelError, ChannelId, Config, ConnectionError, Error, Misuse, Publish, Violation,
    method::{ReplyCode, basic, channel, confirm, connection, queue},
};

use self::support::{
    Peer, body_frame, content, delivery, method_frame,
    script::{soft_code, told},
    soft_error, tune,
};

/// A body that does not leave in one go.
const LARGE: usize = 4 * 1024 * 1024;

#[test]
fn a_channel_can_be_used_before_its_opening_is_answered() {
    let mut peer = Peer::open();
    let (id, opening) = peer.client.open_channel().unwrap();
    let declaring = peer.channel(id).call(queue::Declare::new("q")).unwrap();
    assert_eq!(peer.wrote(), ["1 channel.open", "1 queue.declare"]);
    peer.send(1, channel::OpenOk::new());
    peer.send(1, queue::DeclareOk::new("q", 3, 0));
    assert_eq!(peer.claim(opening), Ok(channel::OpenOk::new()));
    assert_eq!(peer.claim(declaring), Ok(queue::DeclareOk::new("q", 3, 0)));
}

#[test]
fn close_is_answered_by_close_ok_and_nothing_is_sent_behind_it() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    let closing = peer.channel(id).close().unwrap();
    assert_eq!(peer.wrote(), ["1 channel.close"]);
    let closed = Some(Error::Channel(ChannelError::Closed));
    assert_eq!(peer.channel(id).publish(Publish::new("", "q")).err(), closed);
    assert_eq!(peer.channel(id).send(basic::Ack::new(1)).err(), closed);
    assert_eq!(peer.channel(id).call(basic::Qos::new(1)).err(), closed);
    assert_eq!(peer.channel(id).close().err(), closed);
    peer.send(1, channel::CloseOk::new());
    assert_eq!(peer.claim(closing), Ok(channel::CloseOk::new()));
    assert_eq!(peer.channel(id).publish(Publish::new("", "q")).err(), closed);
    assert_eq!(peer.wrote(), [""; 0]);
}

#[test]
fn a_number_is_free_when_it_is_released_and_both_sides_are_done() {
    let mut peer = Peer::tuned(Config::default().channel_max(1), tune());
    let full = || Some(Error::Misuse(Misuse::NoFreeChannel { limit: 1 }));
    let first = peer.open_channel();
    assert_eq!(peer.client.open_channel().err(), full());
    assert_eq!(peer.client.release(first), None);
    assert_eq!(peer.wrote(), ["1 channel.close"]);
    assert_eq!(peer.client.open_channel().err(), full(), "close-ok is still due");
    peer.send(1, channel::CloseOk::new());
    assert_eq!(peer.client.open_channels(), 0);
    let second = peer.open_channel();
    assert_eq!((first.number(), second.number()), (1, 1));
    assert_ne!(first, second);
}

#[test]
fn a_stale_id_never_reaches_the_channel_that_has_its_number_now() {
    let mut peer = Peer::tuned(Config::default().channel_max(1), tune());
    let first = peer.open_channel();
    peer.client.release(first);
    peer.send(1, channel::CloseOk::new());
    peer.wrote();
    let second = peer.open_channel();
    assert_eq!(peer.client.channel(first).err(), Some(Error::Channel(ChannelError::Closed)));
    assert_eq!(peer.client.release(first), None);
    assert_eq!(peer.wrote(), [""; 0]);
    assert!(peer.channel(second).check().is_ok());
}

#[test]
fn numbers_up_to_channel_max_are_used_and_used_again() {
    let mut peer = Peer::tuned(Config::default().channel_max(3), tune());
    let ids = [(); 3].map(|()| peer.open_channel());
    assert_eq!(ids.map(ChannelId::number), [1, 2, 3]);
    assert_eq!(peer.client.open_channel().err(), Some(Error::Misuse(Misuse::NoFreeChannel { limit: 3 })));
    assert_eq!(peer.wrote(), [""; 0], "a refused channel sends nothing");
    peer.client.release(ids[1]);
    peer.send(2, channel::CloseOk::new());
    peer.wrote();
    assert_eq!(peer.open_channel().number(), 2);
    assert!(peer.client.open_channel().is_err());
}

#[test]
fn five_thousand_soft_errors_leak_no_number() {
    let mut peer = Peer::tuned(Config::default().channel_max(2), tune());
    let other = peer.open_channel();
    for round in 0..5000 {
        let id = peer.open_channel();
        peer.channel(id).publish(Publish::new("nope", "key").body("lost")).unwrap();
        peer.wrote();
        peer.close_channel(id.number(), ReplyCode::NOT_FOUND);
        assert_eq!(peer.wrote(), [format!("{id} channel.close-ok")], "round {round}");
        let fault = peer.client.release(id).expect("nobody has reported it");
        assert_eq!(soft_code(&fault), Some(ReplyCode::NOT_FOUND));
        assert_eq!(peer.events().len(), 1);
    }
    assert_eq!(peer.client.open_channels(), 1);
    assert!(peer.channel(other).check().is_ok());
}

#[test]
fn release_of_a_faulted_channel_gives_the_unreported_fault_once() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    peer.close_channel(1, ReplyCode::NOT_FOUND);
    let fault = peer.client.release(id).unwrap();
    assert_eq!(soft_code(&fault), Some(ReplyCode::NOT_FOUND));
    assert_eq!(peer.client.release(id), None);
    assert_eq!(peer.client.open_channels(), 0);
}

#[test]
fn a_reported_fault_is_not_given_again_by_release() {
    let reports: [fn(&mut Peer, ChannelId) -> bool; 3] = [
        |peer, id| peer.channel(id).check().is_err(),
        |peer, id| peer.channel(id).publish(Publish::new("", "q")).is_err(),
        |peer, id| peer.channel(id).close().is_err(),
    ];
    for report in reports {
        let mut peer = Peer::open();
        let id = peer.open_channel();
        peer.close_channel(1, ReplyCode::NOT_FOUND);
        assert!(report(&mut peer, id));
        assert_eq!(peer.client.release(id), None);
    }
}

#[test]
fn release_closes_an_open_channel_and_drops_its_answers() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    let _unwanted = peer.channel(id).call(basic::Qos::new(1)).unwrap();
    assert_eq!(peer.client.release(id), None);
    assert_eq!(peer.wrote(), ["1 basic.qos", "1 channel.close"]);
    peer.send(1, basic::QosOk::new());
    peer.send(1, channel::CloseOk::new());
    assert_eq!(peer.events(), []);
    assert_eq!(peer.client.open_channels(), 0);
}

#[test]
fn release_before_open_ok_closes_behind_the_opening() {
    let mut peer = Peer::open();
    let (id, _opening) = peer.client.open_channel().unwrap();
    peer.client.release(id);
    assert_eq!(peer.wrote(), ["1 channel.open", "1 channel.close"]);
    peer.send(1, channel::OpenOk::new());
    assert_eq!(peer.client.open_channels(), 1);
    peer.send(1, channel::CloseOk::new());
    assert_eq!(peer.client.open_channels(), 0);
    assert_eq!(peer.events(), []);
}

#[test]
fn the_brokers_close_is_answered_once_however_often_it_is_repeated() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    for _ in 0..3 {
        peer.close_channel(1, ReplyCode::PRECONDITION_FAILED);
    }
    assert_eq!(peer.wrote(), ["1 channel.close-ok"]);
    assert_eq!(peer.events().len(), 1);
    peer.client.release(id);
    peer.close_channel(1, ReplyCode::PRECONDITION_FAILED);
    assert_eq!(peer.wrote(), [""; 0]);
    assert!(peer.client.is_open());
}

#[test]
fn crossing_closes_ours_first_wait_for_both_sides() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    let closing = peer.channel(id).close().unwrap();
    assert_eq!(peer.wrote(), ["1 channel.close"]);
    peer.client.release(id);
    peer.close_channel(1, ReplyCode::NOT_FOUND);
    assert_eq!(peer.wrote(), ["1 channel.close-ok"]);
    assert_eq!(soft_code(&peer.claim(closing).unwrap_err()), Some(ReplyCode::NOT_FOUND));
    assert_eq!(peer.client.open_channels(), 1, "our close is still unanswered");
    peer.close_channel(1, ReplyCode::NOT_FOUND);
    assert_eq!(peer.wrote(), [""; 0], "a repetition");
    peer.send(1, channel::CloseOk::new());
    assert_eq!(peer.wrote(), [""; 0]);
    assert_eq!(peer.client.open_channels(), 0);
}

#[test]
fn crossing_closes_theirs_first_send_no_close_of_ours() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    peer.close_channel(1, ReplyCode::NOT_FOUND);
    assert_eq!(soft_code(&peer.channel(id).close().unwrap_err()), Some(ReplyCode::NOT_FOUND));
    assert_eq!(peer.wrote(), ["1 channel.close-ok"]);
    peer.client.release(id);
    assert_eq!(peer.client.open_channels(), 0);
}

#[test]
fn a_close_that_never_left_waits_for_no_answer() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    peer.channel(id).publish(Publish::new("", "q").body(vec![0; LARGE])).unwrap();
    peer.client.release(id);
    peer.close_channel(1, ReplyCode::NOT_FOUND);
    assert_eq!(peer.wrote(), ["1 channel.close-ok"], "what was queued is purged");
    assert_eq!(peer.client.open_channels(), 0);
}

#[test]
fn nothing_of_a_channel_leaves_behind_close_ok() {
    let mut peer = Peer::open();
    let (id, other) = (peer.open_channel(), peer.open_channel());
    let body = || vec![0; LARGE];
    peer.channel(id).publish(Publish::new("", "q").body(body())).unwrap();
    peer.channel(id).send(basic::Ack::new(1)).unwrap();
    peer.channel(other).publish(Publish::new("", "q").body(body())).unwrap();
    peer.close_channel(1, ReplyCode::NOT_FOUND);
    let wrote = peer.wrote();
    assert_eq!(wrote[0], "1 channel.close-ok");
    assert!(wrote[1..].iter().all(|frame| frame.starts_with("2 ")));
    assert_eq!(wrote.len() - 3, LARGE.div_ceil(131_072 - 8));
}

#[test]
fn a_message_of_which_a_part_has_left_is_finished_before_close_ok() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    peer.channel(id).publish(Publish::new("", "q").body(vec![0; LARGE])).unwrap();
    peer.channel(id).send(basic::Ack::new(1)).unwrap();
    let mut wrote = peer.wrote_at_once();
    assert!(wrote.len() < 5, "a part has left: {}", wrote.len());
    peer.close_channel(1, ReplyCode::NOT_FOUND);
    wrote.extend(peer.wrote());
    assert_eq!(wrote.len(), 2 + LARGE.div_ceil(131_072 - 8) + 1, "method, header, bodies, close-ok, but no ack");
    assert_eq!(wrote.last().map(String::as_str), Some("1 channel.close-ok"));
    peer.client.release(id);
    assert_eq!(peer.client.open_channels(), 0);
}

#[test]
fn frames_on_their_way_to_a_closing_channel_are_dropped_with_their_contents() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    let (tag, consuming) = peer.channel(id).consume(basic::Consume::new("q").consumer_tag("t")).unwrap();
    peer.send(1, basic::ConsumeOk::new(&tag));
    peer.claim(consuming).unwrap();
    // One delivery is cut in two by our close.
    let frames = delivery(1, "t", 1, "hello");
    peer.send_frame(&frames[0]);
    let closing = peer.channel(id).close().unwrap();
    peer.send_frames(&frames[1..]);
    peer.deliver(1, "t", 2, "more");
    peer.send(1, channel::Flow::new(false));
    peer.send(1, basic::Cancel::new("t"));
    peer.send(1, channel::CloseOk::new());
    assert_eq!(peer.claim(closing), Ok(channel::CloseOk::new()));
    assert_eq!(told(&peer.events()), [""; 0]);
    assert_eq!(peer.wrote(), ["1 basic.consume", "1 channel.close"]);
}

#[test]
fn outcomes_of_publishes_that_come_while_the_channel_is_closing_are_told() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    peer.channel(id).send(confirm::Select::new().nowait()).unwrap();
    peer.channel(id).publish(Publish::new("", "nobody").mandatory()).unwrap();
    let closing = peer.channel(id).close().unwrap();
    // RabbitMQ sends all of this before close-ok, so closing is a barrier for returned messages.
    peer.send(1, basic::Return::new(ReplyCode::NO_ROUTE, "NO_ROUTE", "", "nobody"));
    peer.send_frames(&content(1, ""));
    peer.send(1, basic::Ack::new(1));
    peer.send(1, channel::CloseOk::new());
    assert!(peer.claim(closing).is_ok());
    assert_eq!(told(&peer.events()), ["1 1..=1 returned 312"]);
}

#[test]
fn late_frames_for_a_number_that_was_used_are_dropped() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    peer.client.release(id);
    peer.send(1, channel::CloseOk::new());
    peer.wrote();
    peer.send_frames(&[
        method_frame(1, basic::Ack::new(1)),
        body_frame(1, "late"),
        method_frame(1, channel::CloseOk::new()),
        method_frame(1, channel::Close::new(ReplyCode::NOT_FOUND, "")),
    ]);
    assert_eq!((peer.wrote().len(), peer.events().len()), (0, 0));
    assert!(peer.client.is_open());
}

#[test]
fn a_frame_for_a_number_that_was_never_used_is_a_violation() {
    for number in [2, 2047, 2048, 65535] {
        let mut peer = Peer::open();
        peer.open_channel();
        peer.send(number, basic::Ack::new(1));
        assert_eq!(peer.wrote(), ["0 connection.close"]);
        assert_eq!(peer.end(), Violation::ChannelNotOpen(number).into());
    }
}

#[test]
fn answers_of_the_channels_life_that_nobody_asked_for_are_violations() {
    for (frame, method) in [
        (method_frame(1, channel::OpenOk::new()), "channel.open-ok"),
        (method_frame(1, channel::CloseOk::new()), "channel.close-ok"),
        (method_frame(1, channel::FlowOk::new(true)), "channel.flow-ok"),
    ] {
        let mut peer = Peer::open();
        peer.open_channel();
        peer.send_frame(&frame);
        assert_eq!(peer.wrote(), ["0 connection.close"]);
        let ConnectionError::Violation(Violation::UnexpectedReply { method: found, channel: 1 }) = peer.end() else {
            panic!("{method} answers nothing")
        };
        assert_eq!(found.name(), Some(method));
    }
}

#[test]
fn a_refused_opening_is_the_answer_to_open() {
    let mut peer = Peer::open();
    let (id, opening) = peer.client.open_channel().unwrap();
    peer.wrote();
    peer.close_channel(1, ReplyCode::RESOURCE_ERROR);
    assert_eq!(soft_code(&peer.claim(opening).unwrap_err()), Some(ReplyCode::RESOURCE_ERROR));
    assert_eq!(peer.client.release(id), None);
    assert_eq!(peer.client.open_channels(), 0);
}

#[test]
fn closing_the_connection_answers_all_and_sends_one_close() {
    let mut peer = Peer::open();
    let (one, two) = (peer.open_channel(), peer.open_channel());
    let first = peer.channel(one).call(basic::Qos::new(1)).unwrap();
    let second = peer.channel(two).call(queue::Declare::new("q")).unwrap();
    peer.client.close(ReplyCode::REPLY_SUCCESS, "bye");
    peer.client.close(ReplyCode::REPLY_SUCCESS, "bye");
    let closed = || Error::Connection(ConnectionError::Closed);
    assert_eq!(peer.claim(first), Err(closed()));
    assert_eq!(peer.claim(second), Err(closed()));
    assert_eq!(peer.client.open_channel().err(), Some(closed()));
    assert_eq!(peer.channel(one).publish(Publish::new("", "q")).err(), Some(closed()));
    assert_eq!(peer.wrote(), ["1 basic.qos", "2 queue.declare", "0 connection.close"]);
    // What was on its way is dropped.
    peer.send(1, basic::QosOk::new());
    peer.send(2, soft_error(ReplyCode::NOT_FOUND));
    peer.send(0, connection::Blocked::new("low on memory"));
    assert_eq!(peer.events(), []);
    peer.send(0, connection::CloseOk::new());
    assert_eq!(peer.end(), ConnectionError::Closed);
    assert_eq!(peer.wrote(), [""; 0]);
}

#[test]
fn the_close_of_the_connection_waits_for_what_was_queued() {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    peer.channel(id).publish(Publish::new("", "q").body(vec![0; LARGE])).unwrap();
    peer.client.close(ReplyCode::REPLY_SUCCESS, "");
    let wrote = peer.wrote();
    assert_eq!(wrote.len(), 3 + LARGE.div_ceil(131_072 - 8));
    assert_eq!(wrote.last().map(String::as_str), Some("0 connection.close"));
}

#[test]
fn crossing_closes_of_the_connection_end_with_one_close_ok() {
    let mut peer = Peer::open();
    peer.client.close(ReplyCode::REPLY_SUCCESS, "bye");
    assert_eq!(peer.wrote(), ["0 connection.close"]);
    peer.close_connection(ReplyCode::CONNECTION_FORCED);
    assert_eq!(peer.wrote(), ["0 connection.close-ok"]);
    let ConnectionError::ClosedByBroker(close) = peer.end() else { panic!("the broker's reason counts") };
    assert_eq!(close.code, ReplyCode::CONNECTION_FORCED);
}

#[test]
fn a_number_is_used_again_although_a_close_that_crossed_is_never_answered() {
    let mut peer = Peer::tuned(Config::default().channel_max(1), support::tune());
    let id = peer.open_channel();
    peer.client.release(id);
    peer.close_channel(1, ReplyCode::NOT_FOUND);
    assert_eq!(peer.wrote(), ["1 channel.close", "1 channel.close-ok"]);
    assert!(peer.client.open_channel().is_err(), "the answer may still come");
    let patience = peer.client.config().call_timeout;
    peer.pass(patience + std::time::Duration::from_secs(1));
    peer.send(1, channel::CloseOk::new());
    assert!(peer.client.open_channel().is_ok());
}
