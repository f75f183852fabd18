//! Consumers with threads of their own: a handler may do anything, and the connection lives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use amqp_blocking::{
    ChannelError, Error, OnFailure, Publish, Workers,
    method::{basic, confirm, queue},
};
use amqp_test::brokers::on_every_broker;

use crate::support::{PATIENCE, eventually, fill, new_queue, open, publish, wait_for_length};

#[test]
fn a_handler_may_call_and_publish_on_its_own_channel() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        channel.call(confirm::Select::new()).unwrap();
        let (queue, answers) = (new_queue(&channel), new_queue(&channel));
        let target = answers.clone();
        let working = channel
            .consume_with(basic::Consume::new(&queue), Workers::default(), move |delivery| {
                let channel = delivery.channel().clone();
                channel.call(queue::Declare::new(&target).passive())?;
                channel.publish_confirmed(Publish::new("", &target).body(delivery.body()))?;
                delivery.ack()
            })
            .unwrap();
        publish(&channel, &queue, ["1", "2", "3"]);
        wait_for_length(&channel, &answers, 3);
        working.cancel().unwrap();
        assert_eq!(working.join(), Ok(()));
    });
}

#[test]
fn a_handler_that_cancels_its_consumer_sees_no_more() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        channel.call(basic::Qos::new(1)).unwrap();
        let queue = new_queue(&channel);
        fill(&channel, &queue, (0..10).map(|number| number.to_string()));
        let (send, seen) = mpsc::channel();
        let working = channel.consume_with(basic::Consume::new(&queue), Workers::default(), move |delivery| {
            let number: u32 = delivery.body_str().unwrap().parse().unwrap();
            send.send(number).unwrap();
            if number == 5 {
                delivery.cancel_consumer()?;
            }
            delivery.ack()
        });
        assert_eq!(working.unwrap().join(), Ok(()));
        assert_eq!(seen.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        wait_for_length(&channel, &queue, 4);
    });
}

#[test]
fn a_failing_handler_leaves_its_message_to_the_policy() {
    on_every_broker(|uri| {
        for (policy, left) in [(OnFailure::Reject, 0), (OnFailure::Requeue, 2), (OnFailure::Leave, 0)] {
            let (_connection, channel) = open(uri);
            let queue = new_queue(&channel);
            let (send, seen) = mpsc::channel();
            let workers = Workers::default().on_failure(policy);
            channel.call(basic::Qos::new(2)).unwrap();
            let working = channel
                .consume_with(basic::Consume::new(&queue), workers, move |delivery| {
                    // Fails once for each message, in both ways there are, and then no more.
                    let fails = !delivery.redelivered();
                    let panics = delivery.body_str() == Ok("panic");
                    let _ = send.send(fails);
                    match (fails, panics) {
                        (true, true) => panic!("on purpose"),
                        (true, false) => Err(Error::WouldBlock),
                        _ => delivery.ack(),
                    }
                })
                .unwrap();
            publish(&channel, &queue, ["panic", "error"]);
            let handled = if policy == OnFailure::Requeue { 4 } else { 2 };
            let failures = (0..handled).filter(|_| seen.recv_timeout(PATIENCE).unwrap()).count();
            assert_eq!((failures, handled - failures), (2, left), "{policy:?}");
            working.cancel().unwrap();
            assert_eq!(working.join(), Ok(()));
            wait_for_length(&channel, &queue, 0);
            assert_eq!(channel.check(), Ok(()), "{policy:?}");
        }
    });
}

#[test]
fn a_message_that_was_settled_before_the_failure_is_not_settled_twice() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let (send, seen) = mpsc::channel();
        let working = channel
            .consume_with(basic::Consume::new(&queue), Workers::default(), move |delivery| {
                delivery.ack()?;
                send.send(()).unwrap();
                Err(Error::WouldBlock)
            })
            .unwrap();
        publish(&channel, &queue, ["x"]);
        seen.recv_timeout(PATIENCE).unwrap();
        working.cancel().unwrap();
        assert_eq!(working.join(), Ok(()));
        assert_eq!(channel.sync(), Ok(()));
    });
}

#[test]
fn several_threads_handle_at_once() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (now, highest) = (Arc::clone(&inside), Arc::clone(&most));
        let working = channel
            .consume_with(basic::Consume::new(&queue), Workers::threads(4), move |delivery| {
                highest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Four are in here together, or this does not end.
                eventually(|| (highest.load(Ordering::SeqCst) == 4).then_some(()));
                now.fetch_sub(1, Ordering::SeqCst);
                delivery.ack()
            })
            .unwrap();
        publish(&channel, &queue, ["1", "2", "3", "4"]);
        eventually(|| (most.load(Ordering::SeqCst) == 4 && inside.load(Ordering::SeqCst) == 0).then_some(()));
        working.cancel().unwrap();
        assert_eq!(working.join(), Ok(()));
    });
}

#[test]
fn a_handler_may_close_its_channel_and_others_go_on() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let other = connection.open_channel().unwrap();
        let queue = new_queue(&other);
        let working = channel
            .consume_with(basic::Consume::new(&queue), Workers::default(), |delivery| delivery.channel().close())
            .unwrap();
        publish(&other, &queue, ["x"]);
        assert_eq!(working.join(), Err(ChannelError::Closed.into()));
        wait_for_length(&other, &queue, 1);
    });
}

#[test]
fn a_handler_that_sleeps_starves_nobody() {
    on_every_broker(|uri| {
        let (connection, channel) = open(&format!("{uri}?heartbeat=1"));
        let queue = new_queue(&channel);
        let (finish, finished) = mpsc::channel::<()>();
        let finished = std::sync::Mutex::new(finished);
        let working = channel
            .consume_with(basic::Consume::new(&queue), Workers::default(), move |delivery| {
                let _ = finished.lock().unwrap().recv();
                delivery.ack()
            })
            .unwrap();
        publish(&channel, &queue, ["x"]);
        // Longer than any broker waits for a heartbeat.
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(connection.check(), Ok(()));
        finish.send(()).unwrap();
        working.cancel().unwrap();
        assert_eq!(working.join(), Ok(()));
        assert_eq!(channel.sync(), Ok(()));
    });
}
