//! What the tests of the blocking adapter share.

use std::{
    thread,
    time::{Duration, Instant},
};

use amqp_blocking::{
    Channel, Config, Connection, ConnectionError, Delivery, Error, Notice, Publish, Uri,
    method::{basic, queue},
};
use amqp_test::brokers::unique;

/// How long anything may take that is to happen at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to get an error that is known already. Generous: the machine may be busy.
pub(crate) const PROMPT: Duration = Duration::from_secs(2);

/// A connection and a channel on it.
pub(crate) fn open(uri: &str) -> (Connection, Channel) {
    let connection = amqp_blocking::connect(uri).unwrap();
    let channel = connection.open_channel().unwrap();
    (connection, channel)
}

/// Connects with the configuration that the URI stands for, changed by `change`.
pub(crate) fn connect_with(uri: &str, change: impl FnOnce(Config) -> Config) -> Result<Connection, Error> {
    let uri: Uri = uri.parse().unwrap();
    Connection::connect_with(&uri, change(uri.config()))
}

/// An exclusive queue under a name of its own.
pub(crate) fn new_queue(channel: &Channel) -> String {
    let declare = queue::Declare::new(unique("queue")).transient().exclusive();
    channel.call(declare).unwrap().queue.to_string()
}

/// Publishes these texts to a queue; gives how many they were.
pub(crate) fn publish(channel: &Channel, queue: &str, bodies: impl IntoIterator<Item = impl AsRef<str>>) -> u32 {
    let mut count = 0;
    for body in bodies {
        channel.publish(Publish::new("", queue).body(body.as_ref())).unwrap();
        count += 1;
    }
    count
}

/// Publishes these texts to a queue that nobody consumes, and waits until they are there: a queue of RabbitMQ answers
/// a question for its length before it takes the messages that were sent before that.
pub(crate) fn fill(channel: &Channel, queue: &str, bodies: impl IntoIterator<Item = impl AsRef<str>>) {
    let length = ready(channel, queue) + publish(channel, queue, bodies);
    wait_for_length(channel, queue, length);
}

/// Waits until a queue has so many messages ready.
#[track_caller]
pub(crate) fn wait_for_length(channel: &Channel, queue: &str, length: u32) {
    eventually(|| (ready(channel, queue) == length).then_some(()));
}

/// Publishes to an exchange that does not exist: the channel's error will come later.
pub(crate) fn spoil(channel: &Channel) -> Result<(), Error> {
    channel.publish(Publish::new("no-such-exchange", "key").body("lost")).map(|_| ())
}

/// The error that is on its way to this channel, without any other operation on it.
pub(crate) fn fault(channel: &Channel) -> Error {
    eventually(|| channel.check().err())
}

/// The next message of a queue, without waiting for any.
pub(crate) fn get(channel: &Channel, queue: &str) -> Option<Delivery> {
    channel.get(basic::Get::new(queue)).unwrap()
}

/// How many messages a queue has ready.
pub(crate) fn ready(channel: &Channel, queue: &str) -> u32 {
    channel.call(queue::Declare::new(queue).passive()).unwrap().message_count
}

/// Looks until there is something to see.
#[track_caller]
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "it did not happen within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Does it and says how long it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

/// Whether the broker closed the channel, and with what: the code, and the method that it blames.
pub(crate) fn soft(error: &Error) -> Option<(u16, String)> {
    let close = error.close().filter(|_| matches!(error, Error::Channel(_)))?;
    Some((close.code.0, close.method.map_or(String::new(), |method| method.to_string())))
}

/// Whether the broker closed the connection, and with what: the code, and the method that it blames.
pub(crate) fn hard(error: &Error) -> Option<(u16, String)> {
    let close = error.close().filter(|_| matches!(error, Error::Connection(_)))?;
    Some((close.code.0, close.method.map_or(String::new(), |method| method.to_string())))
}

/// The pair that [`soft`] and [`hard`] give.
pub(crate) fn blamed(code: u16, method: &str) -> Option<(u16, String)> {
    Some((code, method.to_owned()))
}

/// Whether the link ended without a word from the broker.
pub(crate) fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Connection(ConnectionError::Disconnected { .. }))
}

/// Everything that has happened on the side so far.
pub(crate) fn notices(connection: &Connection) -> Vec<Notice> {
    std::iter::from_fn(|| connection.try_notice()).collect()
}
