//! The end that nobody chose: the broker dies, stops, falls silent or stops reading, and everybody is told in time.

use std::{
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use amqp_blocking::{
    Channel, Connection, ConnectionError, Error, Publish,
    method::{ReplyCode, basic, connection, queue},
};
use amqp_core::frame::Frame;
use amqp_test::{
    brokers::{on_every_broker, within},
    rabbitmq::RabbitMq,
};

use crate::{
    peer::Script,
    support::{PATIENCE, PROMPT, blamed, connect_with, eventually, hard, is_lost, new_queue, open, timed},
};

/// A thread that waits for deliveries on a channel of its own; gives the reason for their end, and when it came.
fn consuming(connection: &Connection) -> JoinHandle<(Error, Instant)> {
    let channel = connection.open_channel().unwrap();
    let mut consumer = channel.consume(basic::Consume::new(new_queue(&channel))).unwrap();
    thread::spawn(move || (consumer.next().unwrap().unwrap_err(), Instant::now()))
}

/// A thread that calls; gives the error, and when it came.
fn calling(channel: &Channel) -> JoinHandle<(Error, Instant)> {
    let channel = channel.clone();
    thread::spawn(move || (channel.call(queue::Declare::new("q").passive()).unwrap_err(), Instant::now()))
}

#[test]
fn a_broker_that_is_killed_is_told_to_all_who_wait() {
    within(Duration::from_secs(120), || {
        let node = RabbitMq::start().unwrap();
        let (connection, channel) = open(&node.uri());
        let consuming = consuming(&connection);
        node.pause().unwrap();
        let calling = calling(&channel);
        let killed = Instant::now();
        node.kill().unwrap();
        for thread in [calling, consuming] {
            let (error, at) = thread.join().unwrap();
            assert!(is_lost(&error), "{error:?}");
            assert!(at.saturating_duration_since(killed) < PROMPT);
        }
        assert!(is_lost(&channel.publish(Publish::new("", "q")).unwrap_err()));
        assert!(is_lost(&connection.close().unwrap_err()));
        let refused = amqp_blocking::connect(&node.uri()).unwrap_err();
        assert!(matches!(refused, Error::Connection(ConnectionError::Unreachable { .. })), "{refused:?}");
    });
}

#[test]
fn a_broker_that_is_stopped_says_so_to_all_who_wait() {
    within(Duration::from_secs(120), || {
        let node = RabbitMq::start().unwrap();
        let (connection, channel) = open(&node.uri());
        let consuming = consuming(&connection);
        node.stop().unwrap();
        let (error, _) = consuming.join().unwrap();
        assert_eq!(hard(&error), blamed(320, ""));
        assert!(error.close().unwrap().text.contains("shutdown"), "{error}");
        assert_eq!(channel.call(basic::Qos::new(1)).unwrap_err(), error);
        assert_eq!(connection.close().unwrap_err(), error);
    });
}

#[test]
fn the_brokers_reason_is_read_although_it_resets_the_connection_at_once() {
    let script = Script::start_open(|peer| {
        peer.open_channel();
        peer.expect::<queue::Declare>();
        let close = connection::Close::new(ReplyCode::CONNECTION_FORCED, "CONNECTION_FORCED - bye");
        peer.send(0, close);
        // What is unread when the stream is dropped makes it a reset.
    });
    let (_connection, channel) = open(&script.uri());
    let (error, _) = calling(&channel).join().unwrap();
    assert_eq!(hard(&error), blamed(320, ""));
    script.finish();
}

#[test]
fn an_end_in_the_middle_of_a_frame_is_told_to_all_who_wait() {
    let script = Script::start_open(|peer| {
        let number = peer.open_channel();
        peer.expect::<queue::Declare>();
        let mut answer = bytes::BytesMut::new();
        Frame::method(number, &queue::DeclareOk::new("q", 0, 0).into()).unwrap().encode(&mut answer);
        answer.truncate(answer.len() - 1);
        std::io::Write::write_all(&mut peer.stream, &answer).unwrap();
    });
    let (_connection, channel) = open(&script.uri());
    let (error, _) = calling(&channel).join().unwrap();
    assert!(is_lost(&error), "{error:?}");
    script.finish();
}

#[test]
fn octets_that_are_no_frames_end_the_connection_and_the_peer_is_told() {
    let script = Script::start_open(|peer| {
        peer.open_channel();
        peer.expect::<queue::Declare>();
        std::io::Write::write_all(&mut peer.stream, b"\x09garbage").unwrap();
        assert_eq!(peer.receive::<connection::Close>().1.reply_code, ReplyCode::FRAME_ERROR);
        peer.wait_for_end();
    });
    let (connection, channel) = open(&script.uri());
    let (error, _) = calling(&channel).join().unwrap();
    assert!(matches!(error, Error::Connection(ConnectionError::Violation(_))), "{error:?}");
    assert_eq!(connection.close().unwrap_err(), error);
    script.finish();
}

/// Four seconds: a broker drops a client that has been silent for two to three of these intervals.
#[test]
fn heartbeats_keep_an_idle_connection_alive() {
    on_every_broker(|uri| {
        let connection = connect_with(uri, |config| config.heartbeat(1)).unwrap();
        let channel = connection.open_channel().unwrap();
        assert_eq!(connection.tuning().heartbeat, 1);
        let mut consumer = channel.consume(basic::Consume::new(new_queue(&channel))).unwrap();
        assert!(consumer.next_timeout(Duration::from_secs(4)).unwrap().is_none());
        channel.call(basic::Qos::new(1)).unwrap();
        connection.close().unwrap();
    });
}

#[test]
fn a_peer_that_falls_silent_is_given_up_after_two_heartbeats() {
    let script = Script::start(|peer| {
        peer.handshake(connection::Tune::new(0, 0, 1));
        peer.open_channel();
        peer.wait_for_end();
    });
    let (connection, channel) = open(&script.uri());
    let ((error, _), time) = timed(|| calling(&channel).join().unwrap());
    let Error::Connection(ConnectionError::HeartbeatMissed { after }) = error else { panic!("{error:?}") };
    let two_intervals = Duration::from_secs(2);
    assert!((two_intervals..two_intervals + PROMPT).contains(&after), "{after:?}");
    assert!((Duration::from_millis(1500)..Duration::from_secs(4) + PROMPT).contains(&time), "{time:?}");
    assert_eq!(connection.close().unwrap_err(), error);
    script.finish();
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_in_time() {
    let (give_up, given_up) = mpsc::channel::<()>();
    let script = Script::start_open(move |peer| {
        peer.open_channel();
        given_up.recv_timeout(PATIENCE).unwrap();
        peer.wait_for_end();
    });
    let after = Duration::from_millis(500);
    let connection = connect_with(&script.uri(), |config| config.write_timeout(after)).unwrap();
    let channel = connection.open_channel().unwrap();
    let (error, time) = timed(|| eventually(|| channel.publish(Publish::new("", "q").body(vec![0; 1_000_000])).err()));
    assert_eq!(error, ConnectionError::WriteStalled { after }.into());
    assert!(time < PATIENCE / 2, "{time:?}");
    assert_eq!(connection.check().unwrap_err(), error);
    give_up.send(()).unwrap();
    script.finish();
}
