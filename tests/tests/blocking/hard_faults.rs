//! An error of the connection: told to everybody on it.

use std::{sync::mpsc, thread};

use amqp_blocking::{
    Channel, Error, Notice, Publish,
    method::{ReplyCode, basic, channel, connection, exchange, queue},
};
use amqp_test::brokers::{on_every_broker, unique};

use crate::{
    peer::Script,
    support::{PROMPT, blamed, hard, new_queue, notices, open, timed},
};

#[test]
fn a_hard_error_is_told_to_every_channel_and_kept() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let (other, consuming) = (connection.open_channel().unwrap(), connection.open_channel().unwrap());
        let queue = new_queue(&consuming);
        let consumer = consuming.consume(basic::Consume::new(queue)).unwrap();
        let waiting = thread::spawn(move || consumer.map(|delivery| delivery.unwrap_err()).collect::<Vec<_>>());

        let error = channel.call(channel::Flow::new(false)).unwrap_err();
        assert_eq!(hard(&error), blamed(540, "channel.flow"));
        assert_eq!(waiting.join().unwrap(), std::slice::from_ref(&error));
        for channel in [&channel, &other, &consuming] {
            assert_eq!(channel.call(queue::Declare::server_named()).unwrap_err(), error);
            assert_eq!(channel.publish(Publish::new("", "q")).unwrap_err(), error);
            assert_eq!(channel.check().unwrap_err(), error);
            assert_eq!(channel.close().unwrap_err(), error);
        }
        assert_eq!(connection.open_channel().unwrap_err(), error);
        assert_eq!(connection.check().unwrap_err(), error);
        assert_eq!(connection.close().unwrap_err(), error);
        let Error::Connection(error) = error else { panic!("{error:?}") };
        assert_eq!(notices(&connection), [Notice::Closed(error)]);
    });
}

#[test]
fn an_unknown_exchange_type_ends_the_connection() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let declare = exchange::Declare::new(unique("exchange"), "no-such-type");
        let error = channel.call(declare).unwrap_err();
        assert_eq!(hard(&error), blamed(503, "exchange.declare"));
        assert_eq!(connection.close().unwrap_err(), error);
    });
}

#[test]
fn a_hard_error_answers_the_calls_that_wait_on_every_channel() {
    let (asked, came) = mpsc::channel();
    let script = Script::start_open(move |peer| {
        let numbers = [(); 3].map(|()| peer.open_channel());
        assert_eq!(numbers, [1, 2, 3]);
        for _ in numbers {
            peer.expect::<queue::Declare>();
            asked.send(()).unwrap();
        }
        peer.send(0, connection::Close::new(ReplyCode::INTERNAL_ERROR, "INTERNAL_ERROR"));
        peer.expect::<connection::CloseOk>();
        peer.wait_for_end();
    });
    let connection = amqp_blocking::connect(&script.uri()).unwrap();
    let channels = [(); 3].map(|()| connection.open_channel().unwrap());
    thread::scope(|scope| {
        let declare = |channel: &Channel| timed(|| channel.call(queue::Declare::new("q")));
        let threads = channels.each_ref().map(|channel| scope.spawn(move || declare(channel)));
        threads.iter().for_each(|_| came.recv().unwrap());
        for thread in threads {
            let (result, time) = thread.join().unwrap();
            assert_eq!(hard(&result.unwrap_err()), blamed(541, ""));
            assert!(time < PROMPT, "{time:?}");
        }
    });
    script.finish();
}
