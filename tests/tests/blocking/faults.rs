//! An error of one channel: kept from its arrival, told to all who wait and all who come, and to nobody else.

use std::{sync::mpsc, thread, time::Duration};

use amqp_blocking::{
    Channel, ChannelError, Connection, Error, Misuse, Notice, Publish,
    method::{AnyMethod, basic, channel, connection, exchange, queue},
};
use amqp_core::frame::Frame;
use amqp_test::brokers::{on_every_broker, unique};

use crate::{
    peer::{Script, not_found},
    support::{PATIENCE, blamed, connect_with, eventually, fault, new_queue, notices, open, soft, spoil},
};

#[test]
fn an_error_is_raised_by_the_call_that_caused_it_and_names_what_is_missing() {
    on_every_broker(|uri| {
        let (connection, _) = open(uri);
        let missing = unique("missing");
        let fails = |method: &str, call: &dyn Fn(&Channel) -> Error| {
            let channel = connection.open_channel().unwrap();
            let error = call(&channel);
            assert_eq!(soft(&error), blamed(404, method));
            let text = &error.close().unwrap().text;
            assert!(text.contains(&missing) && text.contains("in vhost '/'"), "{text}");
        };
        let name = missing.as_str();
        fails("queue.bind", &|channel| channel.call(queue::Bind::new(name, "amq.direct", "key")).unwrap_err());
        fails("queue.bind", &|channel| {
            let queue = new_queue(channel);
            channel.call(queue::Bind::new(queue, name, "key")).unwrap_err()
        });
        fails("basic.consume", &|channel| channel.consume(basic::Consume::new(name)).unwrap_err());
        fails("basic.get", &|channel| channel.get(basic::Get::new(name)).unwrap_err());
        fails("queue.declare", &|channel| channel.call(queue::Declare::new(name).passive()).unwrap_err());
        fails("exchange.declare", &|channel| {
            channel.call(exchange::Declare::new(name, "direct").passive()).unwrap_err()
        });
    });
}

#[test]
fn a_fault_is_kept_and_returned_by_every_later_operation() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let queue = new_queue(&channel);
        spoil(&channel).unwrap();
        let error = fault(&channel);
        assert_eq!(soft(&error), blamed(404, "basic.publish"));

        for _ in 0..2 {
            assert_eq!(channel.publish(Publish::new("", &queue)).unwrap_err(), error);
            assert_eq!(channel.send(basic::Ack::new(1)).unwrap_err(), error);
            assert_eq!(channel.call(queue::Declare::server_named()).unwrap_err(), error);
            assert_eq!(channel.get(basic::Get::new(queue.as_str())).unwrap_err(), error);
            assert_eq!(channel.consume(basic::Consume::new(queue.as_str())).unwrap_err(), error);
            assert_eq!(channel.check().unwrap_err(), error);
            assert_eq!(channel.close().unwrap_err(), error);
        }
        assert_eq!(connection.check(), Ok(()));
    });
}

#[test]
fn the_operation_after_a_bad_publish_fails_with_its_error() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        spoil(&channel).unwrap();
        let late = channel.call(queue::Declare::server_named()).unwrap_err();
        assert_eq!(soft(&late), blamed(404, "basic.publish"));

        let channel = connection.open_channel().unwrap();
        spoil(&channel).unwrap();
        fault(&channel);
        let refused = channel.publish(Publish::new("amq.fanout", "status.update").body("good")).unwrap_err();
        assert_eq!(soft(&refused), blamed(404, "basic.publish"));
    });
}

#[test]
fn a_fault_is_told_to_every_call_that_waits_on_the_channel() {
    let (asked, came) = mpsc::channel();
    let script = Script::start_open(move |peer| {
        let number = peer.open_channel();
        for _ in 0..4 {
            peer.receive_any();
            asked.send(()).unwrap();
        }
        peer.send(number, not_found());
        peer.expect::<channel::CloseOk>();
        peer.close();
    });
    let (connection, channel) = open(&script.uri());
    thread::scope(|scope| {
        let next = || came.recv().unwrap();
        let declare = scope.spawn(|| channel.call(queue::Declare::new("q")).unwrap_err());
        next();
        let consume = scope.spawn(|| channel.consume(basic::Consume::new("q")).unwrap_err());
        next();
        let get = scope.spawn(|| channel.get(basic::Get::new("q")).unwrap_err());
        next();
        let declare_too = scope.spawn(|| channel.call(queue::Declare::new("r")).unwrap_err());
        for thread in [declare, consume, get, declare_too] {
            assert_eq!(soft(&thread.join().unwrap()), blamed(404, "basic.publish"));
        }
    });
    connection.close().unwrap();
    script.finish();
}

#[test]
fn a_close_reports_a_fault_that_nobody_has_seen_whether_it_is_there_or_comes() {
    on_every_broker(|uri| {
        let (connection, comes) = open(uri);
        spoil(&comes).unwrap();
        assert_eq!(soft(&comes.close().unwrap_err()), blamed(404, "basic.publish"));

        // What a second channel sees has come behind the error of the first.
        let there = connection.open_channel().unwrap();
        spoil(&there).unwrap();
        eventually(|| connection.with_channel(|other| Ok(new_queue(other))).ok());
        assert_eq!(soft(&there.close().unwrap_err()), blamed(404, "basic.publish"));
        drop((comes, there));
        assert_eq!(notices(&connection), []);
    });
}

#[test]
fn closing_twice_is_harmless_and_keeps_the_reason() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        assert_eq!((channel.close(), channel.close()), (Ok(()), Ok(())));
        assert_eq!(channel.check(), Err(ChannelError::Closed.into()));
        assert_eq!(channel.publish(Publish::new("", "q")).unwrap_err(), ChannelError::Closed.into());

        let channel = connection.open_channel().unwrap();
        let failed = channel.call(queue::Declare::new(unique("missing")).passive()).unwrap_err();
        assert_eq!((channel.close(), channel.close()), (Err(failed.clone()), Err(failed)));
        connection.close().unwrap();
    });
}

#[test]
fn a_fault_leaves_other_channels_alone() {
    on_every_broker(|uri| {
        let (connection, healthy) = open(uri);
        let queue = new_queue(&healthy);
        let mut consumer = healthy.consume(basic::Consume::new(queue.as_str())).unwrap();
        let spoiled = connection.open_channel().unwrap();
        spoil(&spoiled).unwrap();
        fault(&spoiled);
        healthy.publish(Publish::new("", &queue).body("fine")).unwrap();
        let delivery = consumer.next().unwrap().unwrap();
        assert_eq!(delivery.body_str(), Ok("fine"));
        delivery.ack().unwrap();
        healthy.close().unwrap();
        connection.close().unwrap();
    });
}

#[test]
fn closes_that_cross_are_each_answered_once_and_the_number_is_used_again() {
    let script = Script::start(|peer| {
        peer.handshake(connection::Tune::new(1, 131_072, 0));
        let number = peer.open_channel();
        peer.expect::<channel::Close>();
        let closes: [AnyMethod; 2] = [not_found().into(), channel::CloseOk::new().into()];
        peer.send_frames(closes.map(|close| Frame::method(number, &close).unwrap()));
        peer.expect::<channel::CloseOk>();
        assert_eq!(peer.open_channel(), number);
        peer.expect::<basic::Qos>();
        peer.send(number, basic::QosOk::new());
        peer.close();
    });
    let (connection, channel) = open(&script.uri());
    assert_eq!(soft(&channel.close().unwrap_err()), blamed(404, "basic.publish"));
    drop(channel);
    let channel = connection.open_channel().unwrap();
    channel.call(basic::Qos::new(1)).unwrap();
    connection.close().unwrap();
    script.finish();
}

/// RabbitMQ 3.10 forgets its close-ok now and then, when it reads our close and our close-ok at the same time.
#[test]
fn a_number_is_used_again_although_a_close_that_crossed_is_never_answered() {
    let script = Script::start(|peer| {
        peer.handshake(connection::Tune::new(1, 131_072, 0));
        let number = peer.open_channel();
        peer.expect::<channel::Close>();
        peer.send(number, not_found());
        peer.expect::<channel::CloseOk>();
        assert_eq!(peer.open_channel(), number);
        peer.close();
    });
    let connection = connect_with(&script.uri(), |config| config.call_timeout(Duration::from_millis(300))).unwrap();
    drop(connection.open_channel().unwrap());
    open_when_free(&connection);
    connection.close().unwrap();
    script.finish();
}

#[test]
fn a_channel_dropped_with_a_fault_that_nobody_has_seen_leaves_a_notice() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let number = channel.number();
        spoil(&channel).unwrap();
        drop(channel);
        let notice = eventually(|| connection.try_notice());
        let Notice::Unreported { channel, error } = notice else { panic!("{notice:?}") };
        assert_eq!((channel, soft(&error)), (number, blamed(404, "basic.publish")));

        let seen = connection.open_channel().unwrap();
        spoil(&seen).unwrap();
        fault(&seen);
        drop(seen);
        connection.with_channel(|other| Ok(new_queue(other))).unwrap();
        assert_eq!(notices(&connection), []);
    });
}

#[test]
fn a_storm_of_faults_loses_none_of_them_and_no_channel_number() {
    const CHANNELS: u16 = 16;
    on_every_broker(|uri| {
        let connection = connect_with(uri, |config| config.channel_max(CHANNELS).call_timeout(PATIENCE / 2)).unwrap();
        for _ in 0..500 {
            spoil(&open_when_free(&connection)).unwrap();
        }
        for _ in 0..500 {
            let notice = eventually(|| connection.try_notice());
            assert!(
                matches!(&notice, Notice::Unreported { error, .. } if soft(error) == blamed(404, "basic.publish")),
                "{notice:?}"
            );
        }
        let channels: Vec<_> = (0..CHANNELS).map(|_| open_when_free(&connection)).collect();
        for channel in &channels {
            channel.call(basic::Qos::new(1)).unwrap();
        }
        assert_eq!(notices(&connection), []);
        connection.close().unwrap();
    });
}

/// Opens a channel as soon as there is a number for it: the broker has to agree to the end of the one that had it.
fn open_when_free(connection: &Connection) -> Channel {
    eventually(|| match connection.open_channel() {
        Err(Error::Misuse(Misuse::NoFreeChannel { .. })) => None,
        opened => Some(opened.unwrap()),
    })
}
