//! Too much of everything: memory stays bounded, nothing is lost, and nobody waits for ever.

use std::{
    io::{ErrorKind, Write},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use amqp_blocking::{
    Error, Notice, Publish,
    method::{Properties, basic, channel, confirm},
};
use amqp_core::frame::{ContentHeader, Frame, FrameKind};
use amqp_test::{
    broker::{Alarm, EmbeddedBroker},
    brokers::on_every_broker,
};
use bytes::{Bytes, BytesMut};

use crate::{
    peer::{Peer, Script},
    support::{PATIENCE, PROMPT, connect_with, eventually, get, new_queue, notices, open, timed},
};

/// The octets of one message of a flood.
const SIZE: usize = 100_000;

#[test]
fn a_slow_consumer_gets_everything_in_order_and_can_call_all_the_while() {
    const MESSAGES: usize = 2000;
    on_every_broker(|uri| {
        let connection = connect_with(uri, |config| config.event_limit(20_000)).unwrap();
        let channel = connection.open_channel().unwrap();
        let queue = new_queue(&channel);
        let consumer = channel.consume(basic::Consume::new(queue.as_str())).unwrap();
        thread::scope(|scope| {
            let publishing = connection.open_channel().unwrap();
            let queue = &queue;
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    let body = format!("{number:1000}");
                    publishing.publish(Publish::new("", queue).body(&body)).unwrap();
                }
            });
            for (number, delivery) in consumer.take(MESSAGES).enumerate() {
                let delivery = delivery.unwrap();
                assert_eq!(delivery.body_str().unwrap().trim(), number.to_string());
                if number % 100 == 0 {
                    channel.call(basic::Qos::new(0)).unwrap();
                }
                delivery.ack().unwrap();
            }
        });
        connection.close().unwrap();
    });
}

#[test]
fn a_consumer_that_takes_nothing_stops_the_broker_and_still_gets_everything() {
    const MESSAGES: u64 = 1000;
    let (script, stuck) = flooding(MESSAGES);
    let connection = connect_with(&script.uri(), |config| config.event_limit(1_000_000)).unwrap();
    let channel = connection.open_channel().unwrap();
    let consumer = channel.consume(basic::Consume::new("q").no_ack()).unwrap();
    // Sockets hold several megabytes as well; all of it would be a hundred.
    let sent = stuck.recv_timeout(PATIENCE).unwrap();
    assert!(sent < MESSAGES as usize * SIZE / 2, "{sent} octets were taken");

    // The answer comes behind all of them.
    let calling = thread::spawn(move || channel.call(basic::Qos::new(1)));
    let tags = consumer.take(MESSAGES as usize).map(|delivery| delivery.unwrap().delivery_tag());
    assert!(tags.eq(1..=MESSAGES));
    assert_eq!(calling.join().unwrap(), Ok(basic::QosOk::new()));
    connection.close().unwrap();
    script.finish();
}

#[test]
fn a_call_gets_its_answer_from_behind_deliveries_that_nobody_takes() {
    const MESSAGES: u64 = 200;
    let (script, stuck) = flooding(MESSAGES);
    let connection = connect_with(&script.uri(), |config| config.event_limit(100_000)).unwrap();
    let channel = connection.open_channel().unwrap();
    let consumer = channel.consume(basic::Consume::new("q").no_ack()).unwrap();
    stuck.recv_timeout(PATIENCE).unwrap();
    channel.call(basic::Qos::new(1)).unwrap();
    assert_eq!(consumer.take(MESSAGES as usize).map(Result::unwrap).count() as u64, MESSAGES);
    connection.close().unwrap();
    script.finish();
}

#[test]
fn a_confirm_comes_from_behind_deliveries_that_nobody_takes() {
    on_every_broker(|uri| {
        let connection = connect_with(uri, |config| config.event_limit(20_000)).unwrap();
        let channel = connection.open_channel().unwrap();
        let (jobs, results) = (new_queue(&channel), new_queue(&channel));
        channel.call(confirm::Select::new()).unwrap();
        for _ in 0..300 {
            channel.publish(Publish::new("", &jobs).body(vec![0; 10_000])).unwrap();
        }
        assert_eq!(channel.wait_for_confirms(), Ok(Vec::new()));
        for delivery in channel.consume(basic::Consume::new(jobs.as_str())).unwrap().take(300) {
            channel.publish_confirmed(Publish::new("", &results).body("done")).unwrap();
            delivery.unwrap().ack().unwrap();
        }
        connection.close().unwrap();
    });
}

#[test]
fn a_publish_waits_for_room_and_goes_on_when_there_is_some() {
    let (read, may_read) = mpsc::channel::<()>();
    let script = Script::start_open(move |peer| {
        peer.open_channel();
        may_read.recv_timeout(PATIENCE).unwrap();
        let mut octets = 0;
        while octets < 200 * SIZE {
            let frame = peer.next_frame().unwrap();
            octets += if frame.kind == FrameKind::Body { frame.payload.len() } else { 0 };
        }
        peer.close();
    });
    let limits = |config: amqp_blocking::Config| config.outbox_limit(10 * SIZE);
    let connection = connect_with(&script.uri(), limits).unwrap();
    let channel = connection.open_channel().unwrap();
    let (count, counted) = mpsc::channel();
    let publishing = thread::spawn(move || {
        for number in 1..=200 {
            channel.publish(Publish::new("", "q").body(vec![0; SIZE])).unwrap();
            count.send(number).unwrap();
        }
    });
    // It stands still when outbox and sockets are full.
    let standing = std::iter::from_fn(|| counted.recv_timeout(Duration::from_millis(500)).ok()).last().unwrap();
    assert!(standing < 200, "nothing made the publisher wait");
    read.send(()).unwrap();
    publishing.join().unwrap();
    connection.close().unwrap();
    script.finish();
}

#[test]
fn a_publish_that_finds_no_room_in_time_is_refused_and_can_be_tried_again() {
    let patience = Duration::from_millis(200);
    let script = Script::start_open(|peer| {
        let number = peer.open_channel();
        for active in [false, true] {
            peer.expect::<basic::Qos>();
            peer.send_frames([
                Frame::method(number, &channel::Flow::new(active).into()).unwrap(),
                Frame::method(number, &basic::QosOk::new().into()).unwrap(),
            ]);
            assert_eq!(peer.receive::<channel::FlowOk>().1, channel::FlowOk::new(active));
        }
        peer.expect::<basic::Publish>();
        peer.close();
    });
    let connection = connect_with(&script.uri(), |config| config.call_timeout(patience)).unwrap();
    let channel = connection.open_channel().unwrap();
    let publish = || channel.publish(Publish::new("", "q")).map(|_| ());
    channel.call(basic::Qos::new(1)).unwrap();
    let (result, time) = timed(publish);
    assert_eq!(result, Err(Error::WouldBlock));
    assert!((patience..patience + PROMPT).contains(&time), "{time:?}");
    channel.call(basic::Qos::new(1)).unwrap();
    publish().unwrap();
    connection.close().unwrap();
    script.finish();
}

#[test]
fn an_alarm_of_the_broker_is_told_and_publishing_goes_on_after_it() {
    let broker = EmbeddedBroker::start().unwrap();
    let (connection, channel) = open(&broker.uri());
    let queue = new_queue(&channel);
    broker.with(|broker, _| broker.raise_alarm(Alarm::Memory));
    let publish = |text: &'static str| channel.publish(Publish::new("", &queue).body(text)).unwrap();
    publish("before");
    eventually(|| connection.is_blocked().then_some(()));
    publish("during");
    broker.with(|broker, _| broker.clear_alarm(Alarm::Memory));
    eventually(|| (!connection.is_blocked()).then_some(()));
    for text in ["before", "during"] {
        assert_eq!(get(&channel, &queue).unwrap().body_str(), Ok(text));
    }
    let reason = "low on memory".to_owned();
    assert_eq!(notices(&connection), [Notice::Blocked { reason }, Notice::Unblocked]);
    connection.close().unwrap();
}

/// A peer that sends so many messages to a consumer, and then answers a call. It tells how many octets the client had
/// taken when it took no more for the first time.
fn flooding(messages: u64) -> (Script, Receiver<usize>) {
    let (tell, stuck) = mpsc::channel();
    let script = Script::start_open(move |peer| {
        let number = peer.open_channel();
        let tag = peer.receive::<basic::Consume>().1.consumer_tag;
        peer.send(number, basic::ConsumeOk::new(tag.clone()));
        let deliveries = (1..=messages).map(|delivery_tag| {
            let deliver = basic::Deliver::new(tag.clone(), delivery_tag, false, "", "q");
            message(number, Frame::method(number, &deliver.into()).unwrap())
        });
        flood(peer, deliveries, &tell);
        peer.expect::<basic::Qos>();
        peer.send(number, basic::QosOk::new());
        peer.close();
    });
    (script, stuck)
}

/// The frames of a message of [`SIZE`] octets that this frame announces.
fn message(number: u16, method: Frame) -> BytesMut {
    let header = ContentHeader::new(SIZE as u64, &Properties::new()).unwrap();
    let mut frames = BytesMut::new();
    for frame in [method, Frame::header(number, &header), Frame::body(number, Bytes::from(vec![0; SIZE]))] {
        frame.encode(&mut frames);
    }
    frames
}

/// Sends all of it; tells how much the client had taken when it stopped for the first time.
fn flood(peer: &mut Peer, messages: impl Iterator<Item = BytesMut>, stuck: &mpsc::Sender<usize>) {
    peer.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut sent = 0;
    let mut told = false;
    for mut message in messages {
        while !message.is_empty() {
            match peer.stream.write(&message) {
                Ok(count) => {
                    sent += count;
                    drop(message.split_to(count));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !std::mem::replace(&mut told, true) {
                        stuck.send(sent).unwrap();
                    }
                }
                Err(error) => panic!("flooding the client: {error}"),
            }
        }
    }
    assert!(told, "the client has taken {sent} octets without a pause");
}
