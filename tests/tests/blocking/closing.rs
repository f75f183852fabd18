//! The end that this program chose: closing wakes everybody, keeps to its deadline, and leaves no thread behind.

use std::{
    fs, io,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use amqp_blocking::{
    ChannelError, ConnectionError, Error, Notice, Publish,
    method::{basic, channel, connection, queue},
};
use amqp_test::{
    broker::EmbeddedBroker,
    brokers::{on_every_broker, unique},
};

use crate::{
    peer::{Peer, Script},
    support::{PROMPT, connect_with, eventually, fill, get, new_queue, notices, open, publish, timed},
};

/// A drop waits for nothing; this is for the scheduler of a busy machine.
const AT_ONCE: Duration = Duration::from_millis(200);

#[test]
fn what_was_queued_before_a_close_is_carried_out() {
    on_every_broker(|uri| {
        let (_other, checking) = open(uri);
        let queue = unique("kept");
        checking.call(queue::Declare::new(queue.as_str())).unwrap();
        let (connection, channel) = open(uri);
        publish(&channel, &queue, (0..2000).map(|number| number.to_string()));
        connection.close().unwrap();
        let texts = std::iter::from_fn(|| get(&checking, &queue)).map(|got| got.body_str().unwrap().to_owned());
        assert!(texts.eq((0..2000).map(|number| number.to_string())));
        checking.call(queue::Delete::new(queue.as_str())).unwrap();
    });
}

#[test]
fn closing_twice_is_harmless_and_everything_after_it_fails() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        assert_eq!((connection.close(), connection.close()), (Ok(()), Ok(())));
        let closed = Error::Connection(ConnectionError::Closed);
        assert_eq!(connection.check(), Err(closed.clone()));
        assert_eq!(connection.open_channel().unwrap_err(), closed);
        assert_eq!(channel.call(basic::Qos::new(1)), Err(closed.clone()));
        assert_eq!(channel.publish(Publish::new("", "q")).unwrap_err(), closed);
        assert_eq!(notices(&connection), [Notice::Closed(ConnectionError::Closed)]);
    });
}

#[test]
fn a_close_wakes_everybody_who_waits() {
    let script = Script::start_open(|peer| {
        let number = peer.open_channel();
        let tag = peer.receive::<basic::Consume>().1.consumer_tag;
        peer.send(number, basic::ConsumeOk::new(tag));
        peer.send(number, channel::Flow::new(false));
        peer.close();
    });
    let (connection, channel) = open(&script.uri());
    let mut consumer = channel.consume(basic::Consume::new("q")).unwrap();
    // The broker has asked for a pause: publishes wait.
    let calling = thread::spawn({
        let channel = channel.clone();
        move || channel.call(queue::Declare::new("q")).unwrap_err()
    });
    let publishing = thread::spawn(move || channel.publish(Publish::new("", "q")).map(|_| ()));
    let consuming = thread::spawn(move || consumer.next().unwrap().unwrap_err());
    let closing = thread::spawn(move || connection.close());
    let (results, time) = timed(|| {
        assert_eq!(closing.join().unwrap(), Ok(()));
        let published = publishing.join().unwrap();
        [calling.join().unwrap(), consuming.join().unwrap()].into_iter().chain(published.err()).collect::<Vec<_>>()
    });
    assert!(results.iter().all(|error| *error == ConnectionError::Closed.into()), "{results:?}");
    assert!(time < PROMPT, "{time:?}");
    script.finish();
}

#[test]
fn a_close_is_not_held_up_by_deliveries_that_nobody_takes() {
    on_every_broker(|uri| {
        let (_other, publishing) = open(uri);
        let queue = unique("untaken");
        publishing.call(queue::Declare::new(queue.as_str())).unwrap();
        fill(&publishing, &queue, (0..200).map(|_| "x".repeat(10_000)));

        let connection = connect_with(uri, |config| config.event_limit(50_000)).unwrap();
        let channel = connection.open_channel().unwrap();
        let consumer = channel.consume(basic::Consume::new(queue.as_str())).unwrap();
        // The reader has stopped: what is left in the queue does not get less.
        let left = || publishing.call(queue::Declare::new(queue.as_str()).passive()).unwrap().message_count;
        eventually(|| (left() < 200).then_some(()));
        let (closed, time) = timed(|| connection.close());
        assert_eq!(closed, Ok(()));
        assert!(time < PROMPT, "{time:?}");
        drop(consumer);
        publishing.call(queue::Delete::new(queue.as_str())).unwrap();
    });
}

#[test]
fn a_close_that_is_not_answered_ends_in_time() {
    let script = Script::start_open(|peer| {
        peer.open_channel();
        peer.wait_for_end();
    });
    let after = Duration::from_millis(200);
    let connection = connect_with(&script.uri(), |config| config.close_timeout(after)).unwrap();
    let channel = connection.open_channel().unwrap();
    let (result, time) = timed(|| connection.close());
    assert_eq!(result, Err(ConnectionError::CloseTimeout { after }.into()));
    assert!((after..after + PROMPT).contains(&time), "{time:?}");
    assert_eq!(channel.check(), Err(ConnectionError::Closed.into()));
    script.finish();
}

#[test]
fn a_drop_never_waits() {
    let script = Script::start_open(|peer| {
        peer.open_channel();
        peer.receive_any();
        // Channel, consumer and connection are closed, and nobody answers.
        peer.wait_for_end();
    });
    let short = Duration::from_millis(300);
    let connection = connect_with(&script.uri(), |config| config.close_timeout(short).call_timeout(short)).unwrap();
    let channel = connection.open_channel().unwrap();
    let consumer = channel.consume(basic::Consume::new("q"));
    assert!(matches!(consumer, Err(Error::Channel(ChannelError::NoReply { .. }))), "{consumer:?}");
    let ((), time) = timed(|| drop((channel, connection)));
    assert!(time < AT_ONCE, "{time:?}");
    script.finish();
}

#[test]
fn the_last_handle_closes_the_connection() {
    let script = Script::start_open(|peer| {
        peer.open_channel();
        let number = peer.expect::<channel::Close>();
        peer.send(number, channel::CloseOk::new());
        peer.expect::<connection::Close>();
        peer.send(0, connection::CloseOk::new());
        peer.wait_for_end();
    });
    let (connection, channel) = open(&script.uri());
    let clone = connection.clone();
    drop((connection, clone));
    assert_eq!(channel.check(), Ok(()));
    drop(channel);
    script.finish();
}

/// In a process of its own: other tests have threads of the same names.
#[test]
#[cfg(target_os = "linux")]
fn no_thread_is_left_when_a_connection_is_gone() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "closing::threads_of_connections_that_are_gone", "--nocapture"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "counts all threads of its process: the test above runs it alone"]
fn threads_of_connections_that_are_gone() {
    let broker = EmbeddedBroker::start().unwrap();
    assert_eq!(threads().unwrap(), 0);
    let gone = |what: &str| {
        eventually(|| (threads().unwrap() == 0).then_some(()));
        eprintln!("{what}");
    };

    let (connection, channel) = open(&broker.uri());
    assert_eq!(threads().unwrap(), 2);
    connection.close().unwrap();
    gone("closed");
    drop((connection, channel));

    let (connection, channel) = open(&broker.uri());
    let consumer = channel.consume(basic::Consume::new(new_queue(&channel))).unwrap();
    drop((connection, channel));
    assert_eq!(threads().unwrap(), 2, "a consumer keeps its connection");
    drop(consumer);
    gone("dropped");

    let refused = connect_with(&broker.uri(), |config| config.login("guest", "wrong"));
    assert!(refused.is_err());
    gone("refused");

    let silent = Script::start(Peer::protocol_header);
    assert!(connect_with(&silent.uri(), |config| config.handshake_timeout(Duration::from_millis(100))).is_err());
    gone("hung up on");
    silent.finish();

    let (connection, channel) = open(&broker.uri());
    drop(broker);
    gone("shut down");
    assert!(connection.check().is_err() && channel.check().is_err());
}

/// The threads of connections in this process.
fn threads() -> io::Result<usize> {
    let names = fs::read_dir("/proc/self/task")?.flatten().map(|thread| thread.path().join("comm"));
    let names = names.filter_map(|path| fs::read_to_string(path).ok());
    Ok(names.filter(|name| name.starts_with("amqp-")).count())
}
