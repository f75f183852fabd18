//! Calls that are not answered in time: the caller is told, the channel goes on, and the late answer harms nobody.

use std::{
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use amqp_blocking::{
    Channel, ChannelError, Connection, Error, Publish,
    method::{AnyMethod, Method, MethodId, Properties, basic, channel, connection, queue},
};
use amqp_core::frame::{ContentHeader, Frame};
use bytes::Bytes;

use crate::{
    peer::{Peer, Script},
    support::{PROMPT, connect_with, eventually, timed},
};

/// The patience of the callers in here.
const SOON: Duration = Duration::from_millis(150);

fn impatient(script: &Script) -> (Connection, Channel) {
    let connection = connect_with(&script.uri(), |config| config.call_timeout(SOON)).unwrap();
    let channel = connection.open_channel().unwrap();
    (connection, channel)
}

fn no_reply(method: MethodId) -> Error {
    ChannelError::NoReply { method, blocked: false }.into()
}

/// Lets the next call of the client run into its deadline: `told` says when that has happened.
fn give_up(told: &Receiver<()>) {
    told.recv().unwrap();
}

#[test]
fn a_call_that_is_not_answered_ends_in_time_and_its_late_answer_is_swallowed() {
    let (tell, told) = mpsc::channel();
    let script = Script::start_open(move |peer| {
        let number = peer.open_channel();
        peer.expect::<queue::Declare>();
        give_up(&told);
        peer.expect::<basic::Qos>();
        peer.send(number, basic::QosOk::new());
        peer.expect::<queue::Declare>();
        peer.send(number, queue::DeclareOk::new("late", 1, 1));
        peer.send(number, queue::DeclareOk::new("second", 2, 2));
        peer.close();
    });
    let (connection, channel) = impatient(&script);
    let (result, time) = timed(|| channel.call(queue::Declare::new("first")));
    assert_eq!(result.unwrap_err(), no_reply(queue::Declare::ID));
    assert!((SOON..SOON + PROMPT).contains(&time), "{time:?}");
    assert_eq!(channel.check(), Ok(()));
    tell.send(()).unwrap();

    channel.call(basic::Qos::new(1)).unwrap();
    let declared = channel.call(queue::Declare::new("second")).unwrap();
    assert_eq!((declared.queue.as_str(), declared.message_count), (Ok("second"), 2));
    connection.close().unwrap();
    script.finish();
}

#[test]
fn a_consumer_that_starts_too_late_is_cancelled_and_its_deliveries_given_back() {
    let (tell, told) = mpsc::channel();
    let (settle, settled) = mpsc::channel();
    let script = Script::start_open(move |peer| {
        let number = peer.open_channel();
        let tag = peer.receive::<basic::Consume>().1.consumer_tag;
        give_up(&told);
        let deliver = basic::Deliver::new(tag.clone(), 1, false, "", "q");
        let consume_ok = Frame::method(number, &basic::ConsumeOk::new(tag.clone()).into()).unwrap();
        peer.send_frames([vec![consume_ok], message(number, deliver)].concat());
        assert_eq!(peer.receive::<basic::Cancel>().1.consumer_tag, tag);
        assert_eq!(peer.receive::<basic::Nack>().1, basic::Nack::new(1));
        peer.send(number, basic::CancelOk::new(tag));
        settle.send(()).unwrap();
        answer_qos(peer, number);
        peer.close();
    });
    let (connection, channel) = impatient(&script);
    assert_eq!(channel.consume(basic::Consume::new("q")).unwrap_err(), no_reply(basic::Consume::ID));
    tell.send(()).unwrap();
    settled.recv().unwrap();
    channel.call(basic::Qos::new(1)).unwrap();
    connection.close().unwrap();
    script.finish();
}

#[test]
fn a_message_that_is_fetched_too_late_is_given_back() {
    let (tell, told) = mpsc::channel();
    let (settle, settled) = mpsc::channel();
    let script = Script::start_open(move |peer| {
        let number = peer.open_channel();
        peer.expect::<basic::Get>();
        give_up(&told);
        peer.send_frames(message(number, basic::GetOk::new(1, false, "", "q", 0)));
        assert_eq!(peer.receive::<basic::Nack>().1, basic::Nack::new(1));
        settle.send(()).unwrap();
        answer_qos(peer, number);
        peer.close();
    });
    let (connection, channel) = impatient(&script);
    assert_eq!(channel.get(basic::Get::new("q")).unwrap_err(), no_reply(basic::Get::ID));
    tell.send(()).unwrap();
    settled.recv().unwrap();
    channel.call(basic::Qos::new(1)).unwrap();
    connection.close().unwrap();
    script.finish();
}

#[test]
fn a_call_that_times_out_says_that_the_broker_has_blocked_the_connection() {
    let script = Script::start_open(move |peer| {
        peer.open_channel();
        peer.send(0, connection::Blocked::new("low on memory"));
        peer.expect::<queue::Declare>();
        peer.close();
    });
    let (connection, channel) = impatient(&script);
    eventually(|| connection.is_blocked().then_some(()));
    let result = channel.call(queue::Declare::new("q"));
    assert_eq!(result, Err(ChannelError::NoReply { method: queue::Declare::ID, blocked: true }.into()));
    connection.close().unwrap();
    script.finish();
}

#[test]
fn a_channel_that_is_not_opened_in_time_is_closed_when_it_opens() {
    let (tell, told) = mpsc::channel();
    let script = Script::start_open(move |peer| {
        let number = peer.expect::<channel::Open>();
        give_up(&told);
        peer.send(number, channel::OpenOk::new());
        peer.close_channel();
        peer.open_channel();
        peer.close();
    });
    let connection = connect_with(&script.uri(), |config| config.call_timeout(SOON)).unwrap();
    assert!(matches!(connection.open_channel(), Err(Error::Channel(ChannelError::NoReply { .. }))));
    tell.send(()).unwrap();
    connection.open_channel().unwrap();
    connection.close().unwrap();
    script.finish();
}

#[test]
fn a_close_that_is_not_answered_ends_in_time() {
    let script = Script::start_open(move |peer| {
        peer.open_channel();
        peer.expect::<channel::Close>();
        peer.close();
    });
    let (connection, channel) = impatient(&script);
    let (result, time) = timed(|| channel.close());
    assert_eq!(result, Err(no_reply(channel::Close::ID)));
    assert!(time < SOON + PROMPT, "{time:?}");
    let later = channel.publish(Publish::new("", "q"));
    assert_eq!(later.unwrap_err(), ChannelError::Closed.into());
    connection.close().unwrap();
    script.finish();
}

fn answer_qos(peer: &mut Peer, number: u16) {
    peer.expect::<basic::Qos>();
    peer.send(number, basic::QosOk::new());
}

/// The frames of a message of four octets that this method announces.
pub(crate) fn message(number: u16, method: impl Into<AnyMethod>) -> Vec<Frame> {
    let header = ContentHeader::new(4, &Properties::new()).unwrap();
    let method = Frame::method(number, &method.into()).unwrap();
    vec![method, Frame::header(number, &header), Frame::body(number, Bytes::from_static(b"late"))]
}
