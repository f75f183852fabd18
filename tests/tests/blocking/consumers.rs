//! Consumers while they live: what they hand out, and how they are told to stop.

use std::{
    thread,
    time::{Duration, Instant},
};

use amqp_blocking::{
    Channel, ChannelError, Consumer, Error, Misuse, Publish,
    method::{basic, queue},
};
use amqp_core::frame::Frame;
use amqp_test::brokers::{on_every_broker, unique};

use crate::{
    deadlines::message,
    peer::Script,
    support::{PATIENCE, fill, get, new_queue, open, publish, ready, timed, wait_for_length},
};

fn consume(channel: &Channel, queue: &str) -> Consumer {
    channel.consume(basic::Consume::new(queue)).unwrap()
}

/// The next text, which has to come.
pub(crate) fn next_text(consumer: &mut Consumer) -> String {
    let delivery = consumer.next_timeout(PATIENCE).unwrap().expect("a delivery was to come");
    let text = delivery.body_str().unwrap().to_owned();
    delivery.ack().unwrap();
    text
}

#[test]
fn a_consumer_hands_out_what_is_there_and_what_comes_in_order() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let texts: Vec<_> = (0..200).map(|number| number.to_string()).collect();
        let (early, late) = texts.split_at(100);
        fill(&channel, &queue, early);
        let mut consumer = consume(&channel, &queue);
        publish(&channel, &queue, late);
        let taken: Vec<_> = (0..200)
            .map(|_| {
                let delivery = consumer.next().unwrap().unwrap();
                assert_eq!(delivery.consumer_tag(), consumer.tag());
                assert_eq!((delivery.redelivered(), delivery.message_count()), (false, None));
                let text = delivery.body_str().unwrap().to_owned();
                delivery.ack().unwrap();
                text
            })
            .collect();
        assert_eq!(taken, texts);
        connection.close().unwrap();
    });
}

#[test]
fn waiting_for_a_delivery_can_be_bounded() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let mut consumer = consume(&channel, &queue);
        assert!(consumer.try_next().unwrap().is_none());
        let (nothing, time) = timed(|| consumer.next_timeout(Duration::from_millis(30)).unwrap());
        assert!(nothing.is_none() && time >= Duration::from_millis(30), "{time:?}");

        publish(&channel, &queue, ["one", "two"]);
        assert_eq!(next_text(&mut consumer), "one");
        assert_eq!(next_text(&mut consumer), "two");
        assert!(consumer.try_next().unwrap().is_none());

        let waiting = thread::spawn(move || timed(|| next_text(&mut consumer)));
        publish(&channel, &queue, ["three"]);
        assert_eq!(waiting.join().unwrap().0, "three");
    });
}

#[test]
fn two_consumers_of_one_channel_get_their_own_deliveries() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queues = [(); 2].map(|()| new_queue(&channel));
        let mut consumers = queues.each_ref().map(|queue| consume(&channel, queue));
        assert_ne!(consumers[0].tag(), consumers[1].tag());
        for round in 0..50 {
            for queue in &queues {
                publish(&channel, queue, [format!("{queue} {round}")]);
            }
        }
        for (queue, consumer) in queues.iter().zip(&mut consumers) {
            for round in 0..50 {
                assert_eq!(next_text(consumer), format!("{queue} {round}"));
            }
        }
    });
}

#[test]
fn a_consumer_tag_that_is_taken_is_refused_before_the_broker_sees_it() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let tagged = || basic::Consume::new(queue.as_str()).consumer_tag("mine");
        let mut first = channel.consume(tagged()).unwrap();
        assert_eq!(channel.consume(tagged()).unwrap_err(), Error::Misuse(Misuse::ConsumerTagInUse("mine".into())));
        publish(&channel, &queue, ["still here"]);
        assert_eq!(next_text(&mut first), "still here");
        first.cancel().unwrap();
        channel.consume(tagged()).unwrap();
        connection.close().unwrap();
    });
}

#[test]
fn a_cancelled_consumer_hands_out_what_was_on_its_way_and_then_ends() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let mut consumer = channel.consume(basic::Consume::new(queue.as_str()).no_ack()).unwrap();
        // Without acknowledgements what is not handed out is lost.
        let total = publish(&channel, &queue, (0..3000).map(|number| number.to_string()));
        assert_eq!(consumer.next().unwrap().unwrap().body_str(), Ok("0"));
        consumer.cancel().unwrap();
        let mut handed_out = 1;
        for delivery in consumer.by_ref() {
            assert_eq!(delivery.unwrap().body_str().unwrap(), handed_out.to_string());
            handed_out += 1;
        }
        wait_for_length(&channel, &queue, total - handed_out);

        assert!(consumer.next().is_none());
        let by_us =
            ChannelError::ConsumerCancelled { consumer_tag: consumer.tag().to_short_string(), by_broker: false };
        assert_eq!(consumer.try_next().unwrap_err(), by_us.clone().into());
        assert_eq!(consumer.next_timeout(PATIENCE).unwrap_err(), by_us.into());
        assert_eq!(consumer.cancel(), Ok(()));
        channel.close().unwrap();
    });
}

#[test]
fn a_dropped_consumer_gives_back_what_it_holds() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        fill(&channel, &queue, ["one", "two", "three"]);
        let mut consumer = consume(&channel, &queue);
        let kept = consumer.next().unwrap().unwrap();
        drop(consumer);
        wait_for_length(&channel, &queue, 2);
        for text in ["two", "three"] {
            let again = get(&channel, &queue).unwrap();
            assert_eq!((again.body_str(), again.redelivered()), (Ok(text), true));
        }
        // A delivery outlives its consumer.
        assert_eq!(kept.body_str(), Ok("one"));
        kept.ack().unwrap();
        channel.close().unwrap();
    });
}

#[test]
fn a_consumer_can_be_cancelled_and_dropped_while_deliveries_pour_in() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let (other, queue) = (connection.open_channel().unwrap(), new_queue(&channel));
        for _ in 0..20 {
            let mut consumer = consume(&channel, &queue);
            let pouring = thread::scope(|scope| {
                let pouring = scope.spawn(|| publish(&other, &queue, (0..100).map(|number| number.to_string())));
                let first = consumer.next().unwrap().unwrap();
                first.nack().unwrap();
                drop(consumer);
                pouring.join().unwrap()
            });
            wait_for_length(&channel, &queue, pouring);
            channel.call(queue::Purge::new(queue.as_str())).unwrap();
        }
        channel.close().unwrap();
        connection.close().unwrap();
    });
}

#[test]
fn a_consumer_may_call_on_its_own_channel_and_publish_while_it_iterates() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let (jobs, results) = (new_queue(&channel), new_queue(&channel));
        channel.call(basic::Qos::new(1)).unwrap();
        publish(&channel, &jobs, (0..5).map(|number| number.to_string()));
        for (round, delivery) in consume(&channel, &jobs).take(5).enumerate() {
            let delivery = delivery.unwrap();
            let answer = format!("{} done", delivery.body_str().unwrap());
            channel.publish(Publish::new("", &results).body(&answer)).unwrap();
            let declared = channel.call(queue::Declare::new(unique("from-within")).transient().exclusive()).unwrap();
            assert_eq!(declared.message_count, 0);
            delivery.ack().unwrap();
            assert_eq!(get(&channel, &results).unwrap().body_str().unwrap(), format!("{round} done"));
        }
        assert_eq!(ready(&channel, &jobs), 0);
    });
}

#[test]
fn prefetch_bounds_what_is_handed_out_unacknowledged() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        fill(&channel, &queue, (0..10).map(|number| number.to_string()));
        channel.call(basic::Qos::new(3)).unwrap();
        let mut consumer = consume(&channel, &queue);
        let held: Vec<_> = consumer.by_ref().take(3).map(Result::unwrap).collect();
        wait_for_length(&channel, &queue, 7);
        assert!(consumer.try_next().unwrap().is_none());
        held.into_iter().next().unwrap().ack().unwrap();
        assert_eq!(next_text(&mut consumer), "3");
    });
}

#[test]
fn deliveries_in_the_same_read_as_the_start_of_their_consumer_reach_it() {
    let script = Script::start_open(|peer| {
        let number = peer.open_channel();
        let tag = peer.receive::<basic::Consume>().1.consumer_tag;
        let start = Frame::method(number, &basic::ConsumeOk::new(tag.clone()).into()).unwrap();
        let mut frames = vec![start];
        for delivery_tag in 1..=3 {
            frames.extend(message(number, basic::Deliver::new(tag.clone(), delivery_tag, false, "", "q")));
        }
        peer.send_frames(frames);
        for delivery_tag in 1..=3 {
            assert_eq!(peer.receive::<basic::Ack>().1, basic::Ack::new(delivery_tag));
        }
        peer.close();
    });
    let (connection, channel) = open(&script.uri());
    let consumer = channel.consume(basic::Consume::new("q")).unwrap();
    for (number, delivery) in (1..=3).zip(consumer) {
        let delivery = delivery.unwrap();
        assert_eq!(delivery.delivery_tag(), number);
        delivery.ack().unwrap();
    }
    connection.close().unwrap();
    script.finish();
}

#[test]
fn a_consumer_wakes_at_once_when_something_comes() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let mut consumer = consume(&channel, &queue);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| (next_text(&mut consumer), Instant::now()));
            publish(&channel, &queue, ["now"]);
            let sent = Instant::now();
            let (text, came) = waiting.join().unwrap();
            assert_eq!(text, "now");
            assert!(came.saturating_duration_since(sent) < PATIENCE / 4);
        });
    });
}
