//! Each call gets its own answer, however many wait on a channel and in whatever order the answers come.

use std::{
    sync::{Barrier, mpsc},
    thread,
};

use amqp_blocking::{
    Error, Misuse, Publish,
    method::{AnyMethod, Properties, basic, queue},
    wire::Table,
};
use amqp_core::frame::Frame;
use amqp_test::brokers::{on_every_broker, unique};

use crate::{
    peer::Script,
    support::{connect_with, fill, get, new_queue, open},
};

#[test]
fn a_hundred_threads_declare_a_hundred_queues_on_one_channel() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let start = Barrier::new(100);
        let declare = || {
            let name = unique("parallel");
            start.wait();
            let reply = channel.call(queue::Declare::new(name.as_str()).transient().exclusive()).unwrap();
            assert_eq!((reply.queue.to_string(), reply.message_count), (name, 0));
        };
        thread::scope(|scope| (0..100).for_each(|_| drop(scope.spawn(declare))));
        connection.close().unwrap();
    });
}

#[test]
fn answers_out_of_order_reach_their_own_callers() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        for _ in 0..20 {
            let start = Barrier::new(3);
            thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    channel.consume(basic::Consume::new(queue.as_str())).unwrap().cancel().unwrap();
                });
                scope.spawn(|| {
                    start.wait();
                    channel.call(basic::Qos::new(7)).unwrap();
                });
                start.wait();
                assert_eq!(channel.call(queue::Declare::new(queue.as_str()).passive()).unwrap().queue, queue.as_str());
            });
        }
    });
}

/// The order that RabbitMQ gives to `consume, qos, declare`, every time.
#[test]
fn a_consume_that_is_answered_last_gets_its_own_answer() {
    let (consuming, consume_came) = mpsc::channel();
    let (asked, qos_came) = mpsc::channel();
    let script = Script::start_open(move |peer| {
        let number = peer.open_channel();
        let tag = peer.receive::<basic::Consume>().1.consumer_tag;
        consuming.send(()).unwrap();
        peer.expect::<basic::Qos>();
        asked.send(()).unwrap();
        peer.expect::<queue::Declare>();
        let answers: [AnyMethod; 3] = [
            basic::QosOk::new().into(),
            queue::DeclareOk::new("declared", 3, 2).into(),
            basic::ConsumeOk::new(tag).into(),
        ];
        peer.send_frames(answers.map(|answer| Frame::method(number, &answer).unwrap()));
        peer.close();
    });
    let (connection, channel) = open(&script.uri());
    thread::scope(|scope| {
        let consumer = scope.spawn(|| channel.consume(basic::Consume::new("consumed")));
        consume_came.recv().unwrap();
        let qos = scope.spawn(|| channel.call(basic::Qos::new(7)));
        qos_came.recv().unwrap();
        let declared = channel.call(queue::Declare::new("declared")).unwrap();
        assert_eq!((declared.message_count, declared.consumer_count), (3, 2));
        assert_eq!(qos.join().unwrap(), Ok(basic::QosOk::new()));
        assert!(!consumer.join().unwrap().unwrap().tag().is_empty());
    });
    connection.close().unwrap();
    script.finish();
}

#[test]
fn threads_with_mixed_requests_never_swap_answers() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let work = |number: u32| {
            let queue = new_queue(&channel);
            for round in 0..25 {
                let texts = (0..number).map(|text| format!("{queue} {round} {text}"));
                fill(&channel, &queue, texts);
                channel.call(queue::Bind::new(queue.as_str(), "amq.direct", queue.as_str())).unwrap();
                let expected = (number > 0).then(|| format!("{queue} {round} 0"));
                let got = get(&channel, &queue).map(|got| {
                    let body = got.body_str().unwrap().to_owned();
                    got.ack().unwrap();
                    body
                });
                assert_eq!(got, expected);
                let purged = channel.call(queue::Purge::new(queue.as_str())).unwrap();
                assert_eq!(purged.message_count, number.saturating_sub(1));
            }
        };
        thread::scope(|scope| (0..8).for_each(|number| drop(scope.spawn(move || work(number)))));
    });
}

#[test]
fn get_gives_a_message_and_how_many_are_left_and_none_from_an_empty_queue() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        assert!(get(&channel, &queue).is_none());
        fill(&channel, &queue, ["first", "second", "third"]);
        for (text, left) in [("first", 2), ("second", 1), ("third", 0)] {
            let got = get(&channel, &queue).unwrap();
            assert_eq!((got.body_str(), got.message_count()), (Ok(text), Some(left)));
            assert_eq!((got.exchange().len(), got.routing_key().to_text().as_ref()), (0, queue.as_str()));
            got.ack().unwrap();
        }
        assert!(get(&channel, &queue).is_none());
        channel.close().unwrap();
    });
}

#[test]
fn a_message_fetched_without_acknowledgements_is_settled_already() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        fill(&channel, &queue, ["gone"]);
        let got = channel.get(basic::Get::new(queue.as_str()).no_ack()).unwrap().unwrap();
        assert_eq!(got.ack(), Err(Error::Misuse(Misuse::SettledAlready)));
        channel.close().unwrap();
    });
}

#[test]
fn what_cannot_be_sent_is_refused_and_the_channel_goes_on() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let long = "k".repeat(256);
        let too_long = |field, length| Misuse::ShortStringTooLong { field, length, limit: 255 };
        let refused = channel.call(queue::Declare::new(long.as_str())).unwrap_err();
        assert_eq!(refused, Error::Misuse(too_long("queue", 256)));
        let refused = channel.publish(Publish::new("amq.direct", &long)).unwrap_err();
        assert_eq!(refused, Error::Misuse(too_long("routing_key", 256)));

        let nested = (0..100).fold(Table::new(), |inner, _| Table::new().with("deeper", inner));
        let refused = channel.call(queue::Declare::new("q").arguments(nested)).unwrap_err();
        assert!(matches!(refused, Error::Misuse(Misuse::TableTooDeep { .. })), "{refused:?}");

        let headers = Table::new().with("large", "x".repeat(200_000));
        let large = Properties::new().headers(headers);
        let refused = channel.publish(Publish::new("amq.direct", "key").properties(&large)).unwrap_err();
        assert!(matches!(refused, Error::Misuse(Misuse::FrameTooLarge { .. })), "{refused:?}");

        let mut qos = basic::Qos::new(1);
        qos.prefetch_size = 1;
        let refused = channel.call(qos).unwrap_err();
        assert!(matches!(refused, Error::Misuse(Misuse::NotImplemented(_))), "{refused:?}");
        assert!(!new_queue(&channel).is_empty());
        channel.close().unwrap();
    });
}

#[test]
fn a_body_over_the_limit_is_refused_and_the_channel_goes_on() {
    on_every_broker(|uri| {
        let connection = connect_with(uri, |config| config.message_size_limit(1000)).unwrap();
        let channel = connection.open_channel().unwrap();
        let queue = new_queue(&channel);
        let refused = channel.publish(Publish::new("", &queue).body(vec![0; 1001])).unwrap_err();
        assert_eq!(refused, Error::Misuse(Misuse::BodyTooLarge { size: 1001, limit: 1000 }));
        channel.publish(Publish::new("", &queue).body(vec![0; 1000])).unwrap();
        assert_eq!(get(&channel, &queue).unwrap().body().len(), 1000);
    });
}
