//! Calls: who gets which answer, what is held back, and what becomes of a call that nobody waits for.

mod support;

use std::time::Duration;

use amqp_core::{
    ChannelError, ChannelId, Config, ConnectionError, Error, Misuse, Publish, Violation,
    method::{Method, ReplyCode, basic, channel, confirm, connection, exchange, queue, tx},
    wire::ShortString,
};

use self::support::{Peer, content, script::told, tune};

fn peer_with_channel() -> (Peer, ChannelId) {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    (peer, id)
}

#[test]
fn pipelined_consume_qos_declare_each_get_their_own_answer() {
    let (mut peer, id) = peer_with_channel();
    let mut channel = peer.channel(id);
    let (tag, consuming) = channel.consume(basic::Consume::new("q")).unwrap();
    let limiting = channel.call(basic::Qos::new(10)).unwrap();
    let declaring = channel.call(queue::Declare::new("q")).unwrap();
    assert_eq!(peer.wrote(), ["1 basic.consume", "1 basic.qos", "1 queue.declare"]);
    peer.send(1, basic::QosOk::new());
    assert!(peer.is_answered(&limiting) && !peer.is_answered(&consuming) && !peer.is_answered(&declaring));
    peer.send(1, queue::DeclareOk::new("q", 0, 0));
    peer.send(1, basic::ConsumeOk::new(&tag));
    assert_eq!(peer.claim(consuming), Ok(basic::ConsumeOk::new(&tag)));
    assert_eq!(peer.claim(limiting), Ok(basic::QosOk::new()));
    assert_eq!(peer.claim(declaring), Ok(queue::DeclareOk::new("q", 0, 0)));
}

#[test]
fn calls_of_the_same_kind_are_answered_in_their_order() {
    let (mut peer, id) = peer_with_channel();
    let names: Vec<String> = (0..100).map(|number| format!("q{number}")).collect();
    let calls: Vec<_> = names.iter().map(|name| peer.channel(id).call(queue::Declare::new(name)).unwrap()).collect();
    for name in &names {
        peer.send(1, queue::DeclareOk::new(name, 0, 0));
    }
    for (call, name) in calls.into_iter().zip(&names) {
        assert_eq!(peer.claim(call), Ok(queue::DeclareOk::new(name, 0, 0)));
    }
}

#[test]
fn consume_oks_and_cancel_oks_find_their_call_by_tag() {
    let (mut peer, id) = peer_with_channel();
    let tags = ["a", "b", "c"];
    let consume = |tag: &&str| basic::Consume::new("q").consumer_tag(*tag);
    let calls: Vec<_> = tags.iter().map(|tag| peer.channel(id).call(consume(tag)).unwrap()).collect();
    for tag in ["c", "a", "b"] {
        peer.send(1, basic::ConsumeOk::new(tag));
    }
    for (call, tag) in calls.into_iter().zip(tags) {
        assert_eq!(peer.claim(call), Ok(basic::ConsumeOk::new(tag)));
    }
    let calls: Vec<_> = tags.iter().map(|tag| peer.channel(id).call(basic::Cancel::new(*tag)).unwrap()).collect();
    for tag in ["b", "c", "a"] {
        peer.send(1, basic::CancelOk::new(tag));
    }
    for (call, tag) in calls.into_iter().zip(tags) {
        assert_eq!(peer.claim(call), Ok(basic::CancelOk::new(tag)));
    }
}

#[test]
fn every_kind_of_request_is_answered() {
    fn round_trip<R: amqp_core::method::Request>(request: R, reply: R::Reply) {
        let (mut peer, id) = peer_with_channel();
        let call = peer.channel(id).call(request).unwrap();
        assert_eq!(peer.wrote(), [format!("1 {}", R::NAME)]);
        peer.send(1, reply.clone());
        assert_eq!(peer.claim(call), Ok(reply));
        assert_eq!(peer.channel(id).pending_calls(), 0);
    }
    round_trip(exchange::Declare::new("e", "direct"), exchange::DeclareOk::new());
    round_trip(exchange::Delete::new("e"), exchange::DeleteOk::new());
    round_trip(queue::Declare::server_named(), queue::DeclareOk::new("amq.gen-1", 0, 0));
    round_trip(queue::Purge::new("q"), queue::PurgeOk::new(7));
    round_trip(queue::Delete::new("q"), queue::DeleteOk::new(7));
    round_trip(basic::Qos::new(1), basic::QosOk::new());
    round_trip(basic::Recover::new(), basic::RecoverOk::new());
    round_trip(channel::Flow::new(true), channel::FlowOk::new(true));
    round_trip(confirm::Select::new(), confirm::SelectOk::new());
    round_trip(tx::Select::new(), tx::SelectOk::new());
    round_trip(tx::Commit::new(), tx::CommitOk::new());
    round_trip(tx::Rollback::new(), tx::RollbackOk::new());
}

#[test]
fn an_answer_of_another_kind_never_reaches_a_caller() {
    let (mut peer, id) = peer_with_channel();
    let call = peer.channel(id).call(basic::Consume::new("q")).unwrap();
    peer.wrote();
    peer.send(1, queue::BindOk::new());
    let violation = Violation::UnexpectedReply { method: queue::BindOk::ID, channel: 1 };
    assert_eq!(peer.claim(call), Err(Error::Connection(violation.clone().into())));
    assert_eq!(peer.wrote(), ["0 connection.close"]);
    assert_eq!(peer.end(), violation.into());
}

#[test]
fn an_answer_is_claimed_by_its_own_call_only() {
    let (mut peer, id) = peer_with_channel();
    let first = peer.channel(id).call(basic::Qos::new(1)).unwrap();
    let _second = peer.channel(id).call(basic::Qos::new(2)).unwrap();
    peer.send(1, basic::QosOk::new());
    peer.send(1, basic::QosOk::new());
    let answers: Vec<_> = peer.events().into_iter().collect();
    let amqp_core::Event::Answer(of_second) = answers[1].clone() else { panic!("an answer is due") };
    assert_eq!(first.claim(of_second), Err(Error::Misuse(Misuse::AnswerOfAnotherCall)));
}

#[test]
fn get_is_answered_by_a_message_or_by_none() {
    let (mut peer, id) = peer_with_channel();
    let full = peer.channel(id).get(basic::Get::new("q")).unwrap();
    let empty = peer.channel(id).get(basic::Get::new("q").no_ack()).unwrap();
    peer.send(1, basic::GetOk::new(4, true, "logs", "key", 9));
    assert!(!peer.is_answered(&full), "the message is not whole");
    peer.send_frames(&content(1, "hello"));
    peer.send(1, basic::GetEmpty::new());
    let got = peer.claim(full).unwrap().expect("a message");
    assert_eq!((got.message_count, got.delivery.delivery_tag(), got.delivery.redelivered()), (9, 4, true));
    assert_eq!(got.delivery.body(), "hello");
    assert_eq!(peer.claim(empty), Ok(None));
}

#[test]
fn an_abandoned_call_swallows_its_late_answer() {
    let (mut peer, id) = peer_with_channel();
    let unwanted = peer.channel(id).call(queue::Declare::new("first")).unwrap();
    peer.client.abandon(unwanted);
    let wanted = peer.channel(id).call(queue::Declare::new("second")).unwrap();
    assert_eq!(peer.channel(id).pending_calls(), 2);
    peer.send(1, queue::DeclareOk::new("first", 0, 0));
    assert_eq!(told(&peer.events()), [""; 0]);
    peer.send(1, queue::DeclareOk::new("second", 0, 0));
    assert_eq!(peer.claim(wanted), Ok(queue::DeclareOk::new("second", 0, 0)));
}

#[test]
fn a_consumer_that_nobody_waits_for_is_cancelled() {
    let (mut peer, id) = peer_with_channel();
    let (tag, consuming) = peer.channel(id).consume(basic::Consume::new("q")).unwrap();
    peer.client.abandon(consuming);
    peer.wrote();
    peer.send(1, basic::ConsumeOk::new(&tag));
    assert_eq!(peer.wrote_method(), basic::Cancel::new(&tag).into());
    // What comes until then goes back to the queue.
    peer.deliver(1, &tag.to_string(), 1, "hello");
    assert_eq!(peer.wrote_method(), basic::Nack::new(1).into());
    peer.send(1, basic::CancelOk::new(&tag));
    assert_eq!(told(&peer.events()), [""; 0]);
    assert_eq!(peer.channel(id).pending_calls(), 0);
    assert!(peer.channel(id).consume(basic::Consume::new("q").consumer_tag(&tag)).is_ok());
}

#[test]
fn a_fetched_message_that_nobody_waits_for_goes_back_to_its_queue() {
    for (request, answer) in [(basic::Get::new("q"), vec!["1 basic.nack"]), (basic::Get::new("q").no_ack(), vec![])] {
        let (mut peer, id) = peer_with_channel();
        let fetching = peer.channel(id).get(request).unwrap();
        peer.client.abandon(fetching);
        peer.wrote();
        peer.send(1, basic::GetOk::new(1, false, "", "q", 0));
        peer.send_frames(&content(1, "hello"));
        assert_eq!(peer.wrote(), answer);
        assert_eq!(told(&peer.events()), [""; 0]);
    }
}

#[test]
fn a_call_without_an_answer_times_out_and_the_channel_goes_on() {
    let mut peer = Peer::tuned(Config::default().heartbeat(0).call_timeout(Duration::from_secs(5)), tune());
    let id = peer.open_channel();
    peer.pass(Duration::from_secs(100));
    let late = peer.channel(id).call(queue::Declare::new("late")).unwrap();
    peer.pass(Duration::from_millis(4999));
    assert!(!peer.is_answered(&late));
    peer.pass(Duration::from_millis(1));
    let no_reply = ChannelError::NoReply { method: queue::Declare::ID, blocked: false };
    assert_eq!(peer.claim(late), Err(no_reply.into()));
    let next = peer.channel(id).call(queue::Declare::new("next")).unwrap();
    peer.send(1, queue::DeclareOk::new("late", 0, 0));
    peer.send(1, queue::DeclareOk::new("next", 0, 0));
    assert_eq!(peer.claim(next), Ok(queue::DeclareOk::new("next", 0, 0)));
    assert_eq!(told(&peer.events()), [""; 0]);
    peer.pass(Duration::from_secs(100));
    assert_eq!(told(&peer.events()), [""; 0], "an answered call does not time out");
}

#[test]
fn a_timed_out_call_says_that_the_broker_has_blocked_the_connection() {
    let mut peer = Peer::tuned(Config::default().heartbeat(0), tune());
    let id = peer.open_channel();
    peer.send(0, connection::Blocked::new("low on memory"));
    let call = peer.channel(id).call(basic::Qos::new(1)).unwrap();
    peer.pass(Duration::from_secs(30));
    let no_reply = ChannelError::NoReply { method: basic::Qos::ID, blocked: true };
    assert_eq!(peer.claim(call), Err(no_reply.into()));
}

#[test]
fn nothing_leaves_before_commit_ok_and_everything_in_order_behind_it() {
    let (mut peer, id) = peer_with_channel();
    let other = peer.open_channel();
    let mut channel = peer.channel(id);
    let committing = channel.call(tx::Commit::new()).unwrap();
    channel.send(basic::Ack::new(1)).unwrap();
    channel.publish(Publish::new("", "q").body("small")).unwrap();
    channel.publish(Publish::new("", "q").body(vec![b'x'; 40_000])).unwrap();
    let declaring = channel.call(queue::Declare::new("q")).unwrap();
    peer.channel(other).send(basic::Ack::new(2)).unwrap();
    assert_eq!(peer.wrote(), ["1 tx.commit", "2 basic.ack"]);
    peer.send(1, tx::CommitOk::new());
    let wrote = peer.wrote();
    let starts: Vec<_> = wrote.iter().map(|frame| &frame[..frame.len().min(15)]).collect();
    let expected = ["1 basic.ack", "1 basic.publish", "1 header 5", "1 body small"];
    let large = ["1 basic.publish", "1 header 40000", "1 body xxxxxxxx", "1 queue.declare"];
    assert_eq!(starts, [expected, large].concat());
    assert!(peer.claim(committing).is_ok());
    peer.send(1, queue::DeclareOk::new("q", 0, 0));
    assert!(peer.claim(declaring).is_ok());
}

#[test]
fn commits_leave_one_after_the_other() {
    let (mut peer, id) = peer_with_channel();
    let first = peer.channel(id).call(tx::Commit::new()).unwrap();
    let second = peer.channel(id).call(tx::Rollback::new()).unwrap();
    peer.channel(id).publish(Publish::new("", "q")).unwrap();
    assert_eq!(peer.wrote(), ["1 tx.commit"]);
    peer.send(1, tx::CommitOk::new());
    assert_eq!(peer.wrote(), ["1 tx.rollback"]);
    peer.send(1, tx::RollbackOk::new());
    assert_eq!(peer.wrote(), ["1 basic.publish", "1 header 0"]);
    assert!(peer.claim(first).is_ok() && peer.claim(second).is_ok());
    // Nothing is held back any more.
    peer.channel(id).send(basic::Ack::new(1)).unwrap();
    assert_eq!(peer.wrote(), ["1 basic.ack"]);
}

#[test]
fn a_commit_that_nobody_waits_for_still_holds_back() {
    let (mut peer, id) = peer_with_channel();
    let committing = peer.channel(id).call(tx::Commit::new()).unwrap();
    peer.client.abandon(committing);
    peer.channel(id).send(basic::Ack::new(1)).unwrap();
    assert_eq!(peer.wrote(), ["1 tx.commit"]);
    peer.send(1, tx::CommitOk::new());
    assert_eq!(peer.wrote(), ["1 basic.ack"]);
}

#[test]
fn a_refused_commit_drops_what_was_held_back_behind_it() {
    let (mut peer, id) = peer_with_channel();
    let committing = peer.channel(id).call(tx::Commit::new()).unwrap();
    peer.channel(id).publish(Publish::new("", "q")).unwrap();
    peer.client.release(id);
    assert_eq!(peer.wrote(), ["1 tx.commit"]);
    peer.close_channel(1, ReplyCode::PRECONDITION_FAILED);
    assert_eq!(peer.wrote(), ["1 channel.close-ok"]);
    assert!(!peer.is_answered(&committing), "nobody waits for it");
    assert_eq!(peer.client.open_channels(), 0);
}

#[test]
fn a_close_behind_a_commit_leaves_after_commit_ok() {
    let (mut peer, id) = peer_with_channel();
    let committing = peer.channel(id).call(tx::Commit::new()).unwrap();
    let closing = peer.channel(id).close().unwrap();
    assert_eq!(peer.wrote(), ["1 tx.commit"]);
    peer.send(1, tx::CommitOk::new());
    assert_eq!(peer.wrote(), ["1 channel.close"]);
    assert_eq!(peer.claim(committing), Ok(tx::CommitOk::new()));
    peer.send(1, channel::CloseOk::new());
    assert_eq!(peer.claim(closing), Ok(channel::CloseOk::new()));
}

#[test]
fn a_channel_released_behind_a_commit_gives_its_number_back() {
    let (mut peer, id) = peer_with_channel();
    let _committing = peer.channel(id).call(tx::Commit::new()).unwrap();
    peer.client.release(id);
    assert_eq!(peer.wrote(), ["1 tx.commit"]);
    peer.send(1, tx::CommitOk::new());
    assert_eq!(peer.wrote(), ["1 channel.close"]);
    peer.send(1, channel::CloseOk::new());
    assert_eq!(peer.client.open_channels(), 0);
}

#[test]
fn a_cancel_waits_for_the_consume_it_is_about() {
    let (mut peer, id) = peer_with_channel();
    let consume = |tag| basic::Consume::new("q").consumer_tag(tag);
    let (_, consuming) = peer.channel(id).consume(consume("a")).unwrap();
    let (_, other) = peer.channel(id).consume(consume("b")).unwrap();
    let cancelling = peer.channel(id).call(basic::Cancel::new("a")).unwrap();
    assert_eq!(peer.wrote(), ["1 basic.consume", "1 basic.consume"]);
    peer.send(1, basic::ConsumeOk::new("b"));
    assert_eq!(peer.wrote(), [""; 0]);
    peer.send(1, basic::ConsumeOk::new("a"));
    assert_eq!(peer.wrote(), ["1 basic.cancel"]);
    peer.send(1, basic::CancelOk::new("a"));
    assert!(peer.claim(consuming).is_ok() && peer.claim(other).is_ok() && peer.claim(cancelling).is_ok());
}

#[test]
fn a_silent_cancel_waits_for_the_consume_it_is_about() {
    let (mut peer, id) = peer_with_channel();
    let (tag, _consuming) = peer.channel(id).consume(basic::Consume::new("q")).unwrap();
    peer.channel(id).send(basic::Cancel::new(&tag).nowait()).unwrap();
    assert_eq!(peer.wrote(), ["1 basic.consume"]);
    peer.send(1, basic::ConsumeOk::new(&tag));
    assert_eq!(peer.wrote(), ["1 basic.cancel"]);
}

#[test]
fn a_close_behind_a_cancel_that_waits_leaves_after_consume_ok() {
    let (mut peer, id) = peer_with_channel();
    let (tag, _consuming) = peer.channel(id).consume(basic::Consume::new("q")).unwrap();
    let _cancelling = peer.channel(id).call(basic::Cancel::new(&tag)).unwrap();
    let _closing = peer.channel(id).close().unwrap();
    assert_eq!(peer.wrote(), ["1 basic.consume"]);
    peer.send(1, basic::ConsumeOk::new(&tag));
    assert_eq!(peer.wrote(), ["1 basic.cancel", "1 channel.close"]);
}

#[test]
fn the_close_of_the_connection_leaves_although_frames_are_held_back() {
    let (mut peer, id) = peer_with_channel();
    let _committing = peer.channel(id).call(tx::Commit::new()).unwrap();
    peer.channel(id).publish(Publish::new("", "q")).unwrap();
    peer.client.close(ReplyCode::REPLY_SUCCESS, "");
    assert_eq!(peer.wrote(), ["1 tx.commit", "0 connection.close"]);
}

#[test]
fn the_close_of_the_connection_leaves_although_frames_behind_a_large_message_are_held_back() {
    let (mut peer, id) = peer_with_channel();
    // The message makes the channel's frames queue up, so that the commit has not left when more is queued behind it.
    peer.channel(id).publish(Publish::new("", "q").body(vec![0; 40_000])).unwrap();
    let _committing = peer.channel(id).call(tx::Commit::new()).unwrap();
    peer.channel(id).send(basic::Ack::new(1)).unwrap();
    peer.client.close(ReplyCode::REPLY_SUCCESS, "");
    let wrote = peer.wrote();
    assert_eq!(wrote.last().map(String::as_str), Some("0 connection.close"));
    peer.send(0, connection::CloseOk::new());
    assert_eq!(peer.end(), ConnectionError::Closed);
}

#[test]
fn calls_in_front_of_a_close_end_with_it() {
    let (mut peer, id) = peer_with_channel();
    let unanswered = peer.channel(id).call(basic::Qos::new(1)).unwrap();
    let closing = peer.channel(id).close().unwrap();
    peer.send(1, channel::CloseOk::new());
    assert_eq!(peer.claim(unanswered), Err(ChannelError::Closed.into()));
    assert_eq!(peer.claim(closing), Ok(channel::CloseOk::new()));
}

#[test]
fn consumer_tags_are_made_here_and_differ() {
    let (mut peer, id) = peer_with_channel();
    let mut tag = || peer.channel(id).consume(basic::Consume::new("q")).unwrap().0;
    let (first, second): (ShortString, ShortString) = (tag(), tag());
    assert!(!first.is_empty() && first != second);
}
