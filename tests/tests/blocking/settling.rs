//! Deliveries settle themselves, from any thread, once, and only while their channel lives.

use std::thread;

use amqp_blocking::{
    Channel, ChannelError, ConnectionError, Delivery, Error, Misuse,
    method::{basic, queue},
    wire::Table,
};
use amqp_test::brokers::{on_every_broker, unique};

use crate::support::{blamed, fault, fill, get, new_queue, open, soft, spoil, wait_for_length};

/// Three messages in a queue, all of them delivered.
fn three_deliveries(channel: &Channel) -> (String, [Delivery; 3]) {
    let queue = new_queue(channel);
    fill(channel, &queue, ["one", "two", "three"]);
    (queue.clone(), [(); 3].map(|()| get(channel, &queue).unwrap()))
}

/// What the queue hands out when everything unsettled has gone back to it.
fn left(channel: &Channel, queue: &str) -> Vec<String> {
    channel.call(basic::Recover::new()).unwrap();
    let texts = std::iter::from_fn(|| get(channel, queue)).map(|got| got.body_str().unwrap().to_owned());
    texts.collect()
}

#[test]
fn an_acknowledged_message_is_gone() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let (queue, [one, two, three]) = three_deliveries(&channel);
        two.ack().unwrap();
        assert_eq!(left(&channel, &queue), ["one", "three"]);
        drop((one, three));
    });
}

#[test]
fn a_message_that_is_given_back_comes_again_in_its_place() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let (queue, [one, two, three]) = three_deliveries(&channel);
        three.ack().unwrap();
        two.nack().unwrap();
        one.nack().unwrap();
        wait_for_length(&channel, &queue, 2);
        for text in ["one", "two"] {
            let again = get(&channel, &queue).unwrap();
            assert_eq!((again.body_str(), again.redelivered()), (Ok(text), true));
            again.ack().unwrap();
        }
        channel.close().unwrap();
    });
}

#[test]
fn a_rejected_message_is_dead_lettered() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let graveyard = new_queue(&channel);
        let arguments =
            Table::new().with("x-dead-letter-exchange", "").with("x-dead-letter-routing-key", graveyard.as_str());
        let declare = queue::Declare::new(unique("mortal")).transient().exclusive().arguments(arguments);
        let queue = channel.call(declare).unwrap().queue.to_string();
        fill(&channel, &queue, ["bad"]);
        get(&channel, &queue).unwrap().reject().unwrap();
        wait_for_length(&channel, &graveyard, 1);
        assert_eq!(get(&channel, &graveyard).unwrap().body_str(), Ok("bad"));
        assert!(get(&channel, &queue).is_none());
    });
}

#[test]
fn acknowledging_several_settles_what_came_before() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let (queue, [one, two, three]) = three_deliveries(&channel);
        two.ack_multiple().unwrap();
        assert_eq!(left(&channel, &queue), ["three"]);
        drop((one, three));
    });
}

#[test]
fn a_delivery_can_be_acknowledged_by_another_thread() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        fill(&channel, &queue, (0..100).map(|number| number.to_string()));
        let consumer = channel.consume(basic::Consume::new(queue.as_str())).unwrap();
        let acknowledge = |delivery: Result<Delivery, Error>| thread::spawn(move || delivery.unwrap().ack());
        let threads: Vec<_> = consumer.take(100).map(acknowledge).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        assert!(left(&channel, &queue).is_empty());
        channel.close().unwrap();
    });
}

#[test]
fn what_is_not_settled_comes_again_when_the_channel_is_closed() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let other = connection.open_channel().unwrap();
        let (queue, [one, _two, _three]) = three_deliveries(&channel);
        one.ack().unwrap();
        channel.close().unwrap();
        wait_for_length(&other, &queue, 2);
        let again = get(&other, &queue).unwrap();
        assert_eq!((again.body_str(), again.redelivered()), (Ok("two"), true));
    });
}

#[test]
fn settling_after_the_channel_has_failed_is_refused_and_nothing_is_sent() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let (_, [one, two, three]) = three_deliveries(&channel);
        spoil(&channel).unwrap();
        let fault = fault(&channel);
        assert_eq!(one.ack(), Err(fault.clone()));
        assert_eq!(two.nack(), Err(fault.clone()));
        assert_eq!(three.reject(), Err(fault));
        // A stray acknowledgement would have ended the connection.
        connection.with_channel(|other| other.call(basic::Qos::new(1))).unwrap();
        connection.close().unwrap();
    });
}

#[test]
fn settling_after_a_close_is_refused_and_nothing_is_sent() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let (_, [one, two, _three]) = three_deliveries(&channel);
        channel.close().unwrap();
        // The number is free for the next channel, which must not be hit.
        assert_eq!(one.ack(), Err(ChannelError::Closed.into()));
        connection.with_channel(|other| other.call(basic::Qos::new(1))).unwrap();
        connection.close().unwrap();
        assert_eq!(two.ack_multiple(), Err(ConnectionError::Closed.into()));
    });
}

#[test]
fn a_delivery_without_acknowledgements_cannot_be_settled() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        fill(&channel, &queue, ["one", "two", "three", "four"]);
        let mut consumer = channel.consume(basic::Consume::new(queue.as_str()).no_ack()).unwrap();
        let mut next = || consumer.next().unwrap().unwrap();
        let settled = Err(Error::Misuse(Misuse::SettledAlready));
        assert_eq!((next().ack(), next().ack_multiple()), (settled.clone(), settled.clone()));
        assert_eq!((next().nack(), next().reject()), (settled.clone(), settled));
        assert!(left(&channel, &queue).is_empty());
        channel.close().unwrap();
    });
}

#[test]
fn acknowledging_an_unknown_tag_fails_the_next_operation() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        channel.send(basic::Ack::new(999)).unwrap();
        let error = channel.call(basic::Qos::new(1)).unwrap_err();
        assert_eq!(soft(&error), blamed(406, "basic.ack"));
        assert!(error.close().unwrap().text.contains("unknown delivery tag 999"), "{error}");
    });
}
