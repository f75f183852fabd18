//! Consumers end with a reason: one error that says why there will be no more, and then nothing.

use std::thread::{self, JoinHandle};

use amqp_blocking::{
    Channel, ChannelError, ConnectionError, Consumer, Error, Misuse,
    method::{basic, queue},
};
use amqp_test::brokers::on_every_broker;

use crate::{
    peer::Script,
    support::{PROMPT, blamed, fill, is_lost, new_queue, notices, open, publish, soft, spoil, timed},
};

fn consume(channel: &Channel, queue: &str) -> Consumer {
    channel.consume(basic::Consume::new(queue)).unwrap()
}

/// A thread that waits for deliveries until there are no more; gives the reason.
fn waiting(mut consumer: Consumer) -> JoinHandle<Error> {
    thread::spawn(move || {
        let reason =
            consumer.by_ref().find_map(Result::err).expect("a consumer that is not cancelled says why it ends");
        assert!(consumer.next().is_none());
        // Asked again in other ways it says the same.
        assert_eq!(consumer.try_next().unwrap_err(), reason);
        reason
    })
}

/// The reason, which has to be there at once.
#[track_caller]
fn reason(waiting: JoinHandle<Error>) -> Error {
    let (reason, time) = timed(|| waiting.join().unwrap());
    assert!(time < PROMPT, "{time:?}");
    reason
}

#[test]
fn a_consumer_ends_when_its_queue_is_deleted_and_the_channel_goes_on() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let consumer = consume(&channel, &queue);
        let consumer_tag = consumer.tag().to_short_string();
        let waiting = waiting(consumer);
        channel.call(queue::Delete::new(queue.as_str())).unwrap();
        assert_eq!(reason(waiting), ChannelError::ConsumerCancelled { consumer_tag, by_broker: true }.into());

        let queue = new_queue(&channel);
        publish(&channel, &queue, ["next"]);
        assert_eq!(consume(&channel, &queue).next().unwrap().unwrap().body_str(), Ok("next"));
        assert_eq!(notices(&connection), []);
    });
}

#[test]
fn cancelling_a_consumer_that_the_broker_has_cancelled_is_harmless() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let mut consumer = consume(&channel, &queue);
        channel.call(queue::Delete::new(queue.as_str())).unwrap();
        assert_eq!(consumer.cancel(), Ok(()));
        assert_eq!(consumer.cancel(), Ok(()));
        channel.close().unwrap();
    });
}

#[test]
fn what_was_delivered_before_the_end_comes_before_the_reason() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        fill(&channel, &queue, ["one", "two"]);
        let mut consumer = consume(&channel, &queue);
        channel.call(queue::Delete::new(queue.as_str())).unwrap();
        channel.call(basic::Qos::new(1)).unwrap();
        let texts: Vec<_> =
            consumer.by_ref().map_while(Result::ok).map(|got| got.body_str().unwrap().to_owned()).collect();
        assert_eq!(texts, ["one", "two"]);
        assert!(consumer.next().is_none());
        assert!(matches!(consumer.try_next(), Err(Error::Channel(ChannelError::ConsumerCancelled { .. }))));
    });
}

#[test]
fn a_consumer_ends_with_the_fault_of_its_channel() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let waiting = waiting(consume(&channel, &new_queue(&channel)));
        spoil(&channel).unwrap();
        assert_eq!(soft(&reason(waiting)), blamed(404, "basic.publish"));
        assert_eq!(soft(&channel.check().unwrap_err()), blamed(404, "basic.publish"));
    });
}

#[test]
fn a_consumer_ends_when_another_thread_closes_its_channel() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let waiting = waiting(consume(&channel, &new_queue(&channel)));
        channel.close().unwrap();
        assert_eq!(reason(waiting), ChannelError::Closed.into());
        connection.close().unwrap();
    });
}

#[test]
fn a_consumer_ends_when_another_thread_closes_the_connection() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let waiting = waiting(consume(&channel, &new_queue(&channel)));
        connection.close().unwrap();
        assert_eq!(reason(waiting), ConnectionError::Closed.into());
    });
}

#[test]
fn a_consumer_ends_when_the_connection_is_lost() {
    let script = Script::start_open(|peer| {
        let number = peer.open_channel();
        let tag = peer.receive::<basic::Consume>().1.consumer_tag;
        peer.send(number, basic::ConsumeOk::new(tag));
    });
    let (connection, channel) = open(&script.uri());
    let lost = waiting(consume(&channel, "q")).join().unwrap();
    assert!(is_lost(&lost), "{lost:?}");
    assert_eq!(channel.check(), Err(lost.clone()));
    assert_eq!(connection.check(), Err(lost));
    script.finish();
}

#[test]
fn a_failed_consume_leaves_nothing_behind() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let exclusive = || basic::Consume::new(queue.as_str()).consumer_tag("mine").exclusive();
        let first = channel.consume(exclusive()).unwrap();
        let other = connection.open_channel().unwrap();
        let refused = other.consume(exclusive()).unwrap_err();
        assert_eq!(soft(&refused), blamed(403, "basic.consume"));
        drop((other, first));
        let mut again = channel.consume(exclusive()).unwrap();
        publish(&channel, &queue, ["mine"]);
        assert_eq!(again.next().unwrap().unwrap().body_str(), Ok("mine"));
        assert_eq!(notices(&connection), []);
    });
}

#[test]
fn a_tag_may_be_used_again_and_again_in_any_way() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let users: Vec<_> = (0..4)
            .map(|user| {
                let (channel, queue) = (channel.clone(), queue.clone());
                thread::spawn(move || {
                    for _ in 0..50 {
                        match channel.consume(basic::Consume::new(&queue).consumer_tag("shared")) {
                            Ok(mut consumer) if user % 2 == 0 => consumer.cancel().unwrap(),
                            Ok(consumer) => drop(consumer),
                            Err(error) => {
                                assert!(matches!(error, Error::Misuse(Misuse::ConsumerTagInUse(_))), "{error}");
                            }
                        }
                    }
                })
            })
            .collect();
        users.into_iter().for_each(|user| user.join().unwrap());
        assert_eq!(channel.sync(), Ok(()));
        connection.close().unwrap();
    });
}

#[test]
fn a_consumer_that_was_cancelled_as_a_request_ends_too() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let mut consumer = channel.consume(basic::Consume::new(new_queue(&channel))).unwrap();
        channel.call(basic::Cancel::new(consumer.tag())).unwrap();
        assert!(consumer.next().is_none());
    });
}

#[test]
fn a_consumer_that_nobody_would_hear_is_refused() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let refused = channel.call(basic::Consume::new(new_queue(&channel)));
        assert_eq!(refused.unwrap_err(), Error::Misuse(Misuse::NobodyConsumes));
    });
}
