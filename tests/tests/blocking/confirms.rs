//! What becomes of publishes in confirm mode: each gets its own outcome, and a fault wakes whoever waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use amqp_blocking::{
    Channel, ChannelError, Error, Misuse, Outcome, Publish, Window,
    method::{confirm, exchange, queue},
    wire::Table,
};
use amqp_test::brokers::{on_every_broker, on_rabbitmq, unique};

use crate::support::{PROMPT, blamed, new_queue, open, soft};

fn confirming(channel: &Channel) {
    channel.call(confirm::Select::new()).unwrap();
}

/// A queue that takes so many messages and refuses more.
fn bounded(channel: &Channel, length: i32) -> String {
    let arguments = Table::new().with("x-max-length", length).with("x-overflow", "reject-publish");
    channel.call(queue::Declare::server_named().arguments(arguments)).unwrap().queue.to_string()
}

#[test]
fn every_other_of_a_thousand_mandatory_messages_comes_back_to_its_own_publish() {
    on_every_broker(|uri| {
        for window in [1, 32, 1000] {
            let (_connection, channel) = open(uri);
            confirming(&channel);
            channel.set_window(Window::count(window)).unwrap();
            let queue = new_queue(&channel);
            let confirms: Vec<_> = (0..1000)
                .map(|number| {
                    let routing_key = if number % 2 == 0 { queue.as_str() } else { "no-such-queue" };
                    channel.publish(Publish::new("", routing_key).body(number.to_string()).mandatory()).unwrap()
                })
                .collect();
            for (number, confirm) in confirms.iter().enumerate() {
                match confirm.wait().unwrap() {
                    Outcome::Acked => assert_eq!(number % 2, 0, "window {window}"),
                    Outcome::Returned(message) => {
                        assert_eq!(number % 2, 1, "window {window}");
                        assert_eq!(message.body_str(), Ok(number.to_string().as_str()), "window {window}");
                    }
                    other => panic!("publish {number}, window {window}: {other:?}"),
                }
            }
        }
    });
}

#[test]
fn exactly_what_a_full_queue_refuses_is_nacked() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        confirming(&channel);
        let queue = bounded(&channel, 3);
        let confirms: Vec<_> = (0..10).map(|_| channel.publish(Publish::new("", &queue).body("x")).unwrap()).collect();
        let acked: Vec<_> = confirms.iter().map(|confirm| confirm.wait().unwrap().is_acked()).collect();
        assert_eq!(acked, [true, true, true, false, false, false, false, false, false, false]);
    });
}

#[test]
fn failures_are_listed() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        confirming(&channel);
        let queue = bounded(&channel, 1);
        for _ in 0..3 {
            channel.publish(Publish::new("", &queue)).unwrap();
        }
        let failures = channel.wait_for_confirms().unwrap();
        let nacked: Vec<u64> = failures.iter().flat_map(|(numbers, _)| numbers.clone()).collect();
        assert_eq!(nacked, [2, 3]);
        assert!(failures.iter().all(|(_, outcome)| *outcome == Outcome::Nacked));
        assert_eq!(channel.wait_for_confirms().unwrap(), []);
    });
}

#[test]
fn a_confirmed_publish_raises_what_became_of_it() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        confirming(&channel);
        let queue = bounded(&channel, 1);
        assert_eq!(channel.publish_confirmed(Publish::new("", &queue)), Ok(()));
        assert_eq!(channel.publish_confirmed(Publish::new("", &queue)), Err(ChannelError::Nacked.into()));
        match channel.publish_confirmed(Publish::new("", "no-such-queue").mandatory()).unwrap_err() {
            Error::Channel(ChannelError::Returned(message)) => assert_eq!(message.reply_code().0, 312),
            other => panic!("{other:?}"),
        }
        assert_eq!(channel.publish_confirmed(Publish::new("", "no-such-queue")), Ok(()), "taken, and routed nowhere");
        let fault = channel.publish_confirmed(Publish::new("no-such-exchange", "key")).unwrap_err();
        assert_eq!(soft(&fault), blamed(404, "basic.publish"));
    });
}

#[test]
fn a_fault_divides_the_publishes_and_names_its_culprit() {
    on_rabbitmq(|uri| {
        let (connection, channel) = open(uri);
        let counter = connection.open_channel().unwrap();
        confirming(&channel);
        let queue = new_queue(&counter);
        let publish = |exchange: &str| channel.publish(Publish::new(exchange, &queue).body("x"));
        let before: Vec<_> = (0..100).map_while(|_| publish("").ok()).collect();
        let culprit = publish("no-such-exchange").unwrap();
        let behind: Vec<_> = (0..10).map_while(|_| publish("").ok()).collect();
        match culprit.wait().unwrap() {
            Outcome::Rejected(fault) => {
                let culprit = fault.close().unwrap().culprit.as_ref().unwrap();
                assert_eq!((culprit.number, culprit.exchange.to_string().as_str()), (101, "no-such-exchange"));
            }
            other => panic!("{other:?}"),
        }
        for confirm in &before {
            assert!(matches!(confirm.wait().unwrap(), Outcome::Acked | Outcome::Unknown(_)));
        }
        for confirm in &behind {
            assert!(matches!(confirm.wait().unwrap(), Outcome::NotExecuted(_)));
        }
        // What was in front of the culprit was carried out, what was behind was not.
        crate::support::wait_for_length(&counter, &queue, 100);
    });
}

#[test]
fn a_publisher_that_waits_for_its_window_is_woken_by_the_fault() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        confirming(&channel);
        channel.set_window(Window::count(1)).unwrap();
        let first = channel.publish(Publish::new("no-such-exchange", "key")).unwrap();
        let start = Instant::now();
        let fault = channel.publish(Publish::new("", "key")).unwrap_err();
        assert_eq!(soft(&fault), blamed(404, "basic.publish"));
        assert!(start.elapsed() < PROMPT);
        assert!(matches!(first.wait().unwrap(), Outcome::Rejected(_)));
        connection.close().unwrap();
    });
}

#[test]
fn a_full_window_fails_by_choice() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        confirming(&channel);
        channel.set_window(Window::count(0)).unwrap();
        assert_eq!(channel.try_publish(Publish::new("", "key")).unwrap_err(), Error::WouldBlock);
    });
}

#[test]
fn confirms_without_confirm_mode_are_misuse() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let misuse = Error::Misuse(Misuse::NotConfirming);
        assert_eq!(channel.publish_confirmed(Publish::new("", "key")), Err(misuse.clone()));
        assert_eq!(channel.wait_for_confirms(), Err(misuse.clone()));
        assert_eq!(channel.publish(Publish::new("", "key")).unwrap().wait(), Err(misuse));
    });
}

#[test]
fn numbers_stay_true_when_many_threads_publish_and_some_messages_are_refused() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        confirming(&channel);
        let queue = new_queue(&channel);
        let publishers: Vec<_> = (0..8)
            .map(|_| {
                let (channel, queue) = (channel.clone(), queue.clone());
                thread::spawn(move || {
                    for _ in 0..50 {
                        channel.publish_confirmed(Publish::new("", &queue).mandatory().body("x")).unwrap();
                        let refused = channel.publish(Publish::new("", &"k".repeat(256)));
                        assert!(matches!(refused, Err(Error::Misuse(Misuse::ShortStringTooLong { .. }))));
                    }
                })
            })
            .collect();
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        let last = channel.publish(Publish::new("", &queue)).unwrap();
        assert_eq!(last.delivery_tag(), Some(401));
        assert!(last.wait_timeout(Duration::from_secs(10)).unwrap().is_acked());
    });
}

#[test]
fn sync_makes_no_error_a_fact() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        assert_eq!(channel.sync(), Ok(()));
        crate::support::spoil(&channel).unwrap();
        assert_eq!(soft(&channel.sync().unwrap_err()), blamed(404, "basic.publish"));
    });
}

#[test]
fn what_may_have_been_carried_out_is_never_told_to_be_safe_to_send_again() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let counter = connection.open_channel().unwrap();
        confirming(&channel);
        let (exchange, queue) = (unique("exchange"), new_queue(&counter));
        counter.call(exchange::Declare::new(&exchange, "fanout").auto_delete()).unwrap();
        counter.call(queue::Bind::new(&queue, &exchange, "")).unwrap();
        let publish = || channel.publish(Publish::new(&exchange, "key")).unwrap();
        let before: Vec<_> = (0..100).map(|_| publish()).collect();
        channel.send(exchange::Delete::new(&exchange).nowait()).unwrap();
        // All of these are refused, and none that came before was: only a broker could tell them apart.
        let refused = (0..10).map_while(|_| channel.publish(Publish::new(&exchange, "key")).ok()).count();
        for confirm in &before {
            let outcome = confirm.wait().unwrap();
            assert!(matches!(outcome, Outcome::Acked | Outcome::Unknown(_)), "{outcome:?}");
        }
        assert!(refused > 0);
        crate::support::wait_for_length(&counter, &queue, 100);
    });
}

#[test]
fn nobody_takes_the_failure_of_another_publish_for_a_success() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        confirming(&channel);
        let thief = channel.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let stealing = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                thief.wait_for_confirms().unwrap();
            }
        });
        for _ in 0..100 {
            let returned = channel.publish_confirmed(Publish::new("", "no-such-queue").mandatory());
            assert!(matches!(returned, Err(Error::Channel(ChannelError::Returned(_)))), "{returned:?}");
        }
        stop.store(true, Ordering::Relaxed);
        stealing.join().unwrap();
    });
}
