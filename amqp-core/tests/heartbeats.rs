//! Time: heartbeats both ways, deadlines of closing and writing, and what a blocked or sleeping side changes.

mod support;

use std::time::Duration;

use amqp_core::{
    ChannelId, Config, ConnectionError, Event, Publish,
    frame::{Frame, FrameKind},
    method::{ReplyCode, basic, connection},
};
use bytes::BytesMut;

use self::support::{Peer, tune};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The interval that is agreed, and how exactly the end of two of them is found.
const INTERVAL: Duration = seconds(8);
const TICK: Duration = seconds(2);

fn peer() -> (Peer, ChannelId) {
    let mut peer = Peer::tuned(Config::default().heartbeat(8).call_timeout(seconds(7200)), tune());
    let id = peer.open_channel();
    (peer, id)
}

/// Lets time go by while the server shows that it lives.
fn pass_alive(peer: &mut Peer, time: Duration) {
    let until = peer.now + time;
    while peer.now < until {
        peer.send_frame(&Frame::heartbeat());
        peer.pass((INTERVAL / 2).min(until - peer.now));
    }
}

#[test]
fn an_idle_client_is_never_silent_for_more_than_half_an_interval() {
    let (mut peer, _) = peer();
    let start = peer.now;
    pass_alive(&mut peer, INTERVAL * 20);
    let frames = peer.timed_frames();
    assert!(frames.iter().all(|(_, frame)| frame.kind == FrameKind::Heartbeat));
    let times: Vec<_> = std::iter::once(start).chain(frames.iter().map(|(at, _)| *at)).chain([peer.now]).collect();
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] <= INTERVAL / 2, "silent from {:?} to {:?}", pair[0], pair[1]);
    }
    assert!(frames.len() <= 41, "no more than needed: {}", frames.len());
}

#[test]
fn output_at_any_moment_leaves_no_gap_of_more_than_half_an_interval() {
    for offset in 0..80 {
        let (mut peer, id) = peer();
        peer.pass(Duration::from_millis(offset * 100));
        peer.timed_frames();
        peer.channel(id).send(basic::Ack::new(1)).unwrap();
        let sent = peer.now;
        pass_alive(&mut peer, INTERVAL);
        let frames = peer.timed_frames();
        assert_eq!(frames[0].1.kind, FrameKind::Method);
        let (at, frame) = &frames[1];
        assert_eq!(frame.kind, FrameKind::Heartbeat);
        assert!(*at - sent <= INTERVAL / 2, "offset {offset}: silent for {:?}", *at - sent);
    }
}

#[test]
fn no_heartbeat_is_sent_while_output_flows() {
    let (mut peer, id) = peer();
    pass_alive(&mut peer, TICK);
    peer.timed_frames();
    for _ in 0..100 {
        peer.channel(id).send(basic::Ack::new(1)).unwrap();
        pass_alive(&mut peer, Duration::from_millis(1900));
    }
    assert!(peer.timed_frames().iter().all(|(_, frame)| frame.kind == FrameKind::Method));
}

#[test]
fn no_heartbeat_piles_up_behind_output_that_does_not_leave() {
    let (mut peer, id) = peer();
    peer.channel(id).send(basic::Ack::new(1)).unwrap();
    peer.reads = false;
    pass_alive(&mut peer, seconds(50));
    assert_eq!(peer.wrote(), ["1 basic.ack"]);
}

#[test]
fn without_heartbeats_nothing_is_sent_and_silence_is_no_death() {
    let mut peer = Peer::tuned(Config::default().heartbeat(0), tune());
    peer.pass(seconds(100_000));
    assert_eq!(peer.wrote(), [""; 0]);
    assert!(peer.client.is_open());
}

#[test]
fn heartbeats_are_taken_also_when_none_were_agreed() {
    let mut peer = Peer::tuned(Config::default().heartbeat(0), tune());
    peer.send_frame(&Frame::heartbeat());
    assert_eq!((peer.events().len(), peer.wrote().len()), (0, 0));
    assert!(peer.client.is_open());
}

#[test]
fn a_silent_server_is_dead_after_two_intervals_from_its_last_octet() {
    for last_octet in [0, 1, 7, 8, 15, 16, 17] {
        let (mut peer, _) = peer();
        for _ in 0..last_octet {
            peer.pass(seconds(1));
            peer.send_frame(&Frame::heartbeat());
        }
        peer.pass(INTERVAL * 2 - Duration::from_millis(1));
        assert!(peer.client.is_open(), "too early, last octet at {last_octet} s");
        peer.pass(TICK);
        assert!(peer.client.is_closed(), "two intervals and a tick of silence, last octet at {last_octet} s");
        let ConnectionError::HeartbeatMissed { after } = peer.end() else { panic!("it was silent") };
        assert!((INTERVAL * 2..=INTERVAL * 2 + TICK).contains(&after), "{after:?}");
    }
}

#[test]
fn any_octet_is_a_sign_of_life() {
    let (mut peer, id) = peer();
    let (tag, _) = peer.channel(id).consume(basic::Consume::new("q").no_ack()).unwrap();
    let message = support::octets(&support::delivery(1, &tag.to_string(), 1, &"x".repeat(40)));
    peer.send(1, basic::ConsumeOk::new(&tag));
    peer.events();
    // One octet per interval, as of a frame that is coming in very slowly.
    let mut input = BytesMut::new();
    for octet in message {
        peer.pass(INTERVAL);
        input.extend_from_slice(&[octet]);
        let now = peer.instant();
        peer.client.receive(&mut input, now);
        assert!(peer.client.is_open());
    }
    assert!(matches!(peer.event(), Event::Delivery(_)));
}

#[test]
fn frames_of_a_driver_that_decodes_for_itself_are_signs_of_life() {
    let (mut peer, _) = peer();
    for _ in 0..10 {
        peer.pass(INTERVAL * 3 / 2);
        let now = peer.instant();
        peer.client.handle(Frame::heartbeat(), now);
    }
    assert!(peer.client.is_open());
}

#[test]
fn a_process_that_was_asleep_reads_before_it_judges() {
    let (mut peer, _) = peer();
    // Suspended: nobody called for an hour, while the server went on sending.
    peer.now += seconds(3600);
    let now = peer.instant();
    peer.client.handle_timeout(now);
    assert!(peer.client.is_open(), "what has arrived meanwhile is still to be read");
    peer.send_frame(&Frame::heartbeat());
    pass_alive(&mut peer, INTERVAL * 2);
    assert!(peer.client.is_open());
}

#[test]
fn a_process_that_was_asleep_finds_a_dead_server_soon() {
    let (mut peer, _) = peer();
    peer.now += seconds(3600);
    let now = peer.instant();
    peer.client.handle_timeout(now);
    peer.pass(INTERVAL);
    assert!(matches!(peer.end(), ConnectionError::HeartbeatMissed { .. }));
}

#[test]
fn silence_proves_nothing_while_reading_is_paused() {
    let (mut peer, _) = peer();
    let now = peer.instant();
    peer.client.pause_reading(true, now);
    peer.pass(INTERVAL * 100);
    assert!(peer.client.is_open());
    let now = peer.instant();
    peer.client.pause_reading(false, now);
    peer.pass(INTERVAL * 2 - Duration::from_millis(1));
    assert!(peer.client.is_open(), "there must be time to read again");
    peer.pass(INTERVAL);
    assert!(matches!(peer.end(), ConnectionError::HeartbeatMissed { .. }));
}

#[test]
fn all_calls_are_answered_when_the_heartbeat_is_missed() {
    let (mut peer, id) = peer();
    let call = peer.channel(id).call(basic::Qos::new(1)).unwrap();
    peer.pass(INTERVAL * 5);
    assert!(matches!(
        peer.claim(call).unwrap_err(),
        amqp_core::Error::Connection(ConnectionError::HeartbeatMissed { .. })
    ));
}

#[test]
fn a_close_that_is_not_answered_ends_at_its_deadline() {
    let config = Config::default().heartbeat(0).close_timeout(seconds(3));
    let mut peer = Peer::tuned(config, tune());
    peer.pass(seconds(100));
    peer.client.close(ReplyCode::REPLY_SUCCESS, "");
    peer.pass(Duration::from_millis(2999));
    assert!(!peer.client.is_closed());
    peer.pass(Duration::from_millis(1));
    assert_eq!(peer.end(), ConnectionError::CloseTimeout { after: seconds(3) });
}

#[test]
fn a_blocked_connection_closes_at_its_deadline() {
    let (mut peer, id) = peer();
    peer.send(0, connection::Blocked::new("low on disk"));
    peer.channel(id).publish(Publish::new("", "q").body("stuck")).unwrap();
    peer.reads = false;
    peer.client.close(ReplyCode::REPLY_SUCCESS, "");
    pass_alive(&mut peer, seconds(9));
    assert!(!peer.client.is_closed());
    pass_alive(&mut peer, seconds(1));
    assert_eq!(peer.client.fault(), Some(&ConnectionError::CloseTimeout { after: seconds(10) }));
}

/// A client whose server takes nothing, with something to write.
fn stalled(write_timeout: Duration) -> Peer {
    let mut peer = Peer::tuned(Config::default().heartbeat(0).write_timeout(write_timeout), tune());
    let id = peer.open_channel();
    peer.pass(seconds(1));
    peer.wrote();
    peer.reads = false;
    peer.channel(id).publish(Publish::new("", "q").body("stuck")).unwrap();
    peer
}

#[test]
fn output_that_does_not_leave_ends_the_connection() {
    let mut peer = stalled(seconds(10));
    peer.pass(Duration::from_millis(9999));
    assert!(peer.client.is_open());
    // The clock is not read for every write: the stall may be seen up to one timeout later.
    peer.pass(seconds(10));
    assert_eq!(peer.end(), ConnectionError::WriteStalled { after: seconds(10) });
}

#[test]
fn output_that_leaves_slowly_does_not_end_the_connection() {
    use bytes::Buf as _;
    let mut peer = stalled(seconds(10));
    for _ in 0..20 {
        peer.pass(seconds(9));
        peer.client.outbox().advance(1);
    }
    assert!(peer.client.is_open());
}

#[test]
fn a_write_stall_is_not_counted_while_the_broker_has_blocked_the_connection() {
    let mut peer = stalled(seconds(10));
    peer.pass(seconds(9));
    peer.send(0, connection::Blocked::new("low on memory"));
    peer.pass(seconds(105));
    assert!(peer.client.is_open());
    peer.send(0, connection::Unblocked::new());
    // From here on the broker reads again: it must be given the whole time.
    peer.pass(Duration::from_millis(9999));
    assert!(peer.client.is_open());
    peer.pass(seconds(11));
    assert!(matches!(peer.client.fault(), Some(ConnectionError::WriteStalled { .. })));
}

#[test]
fn intervals_of_every_size_overflow_nothing() {
    for interval in [1, 65535] {
        let mut peer = Peer::tuned(Config::default().heartbeat(interval), connection::Tune::new(0, 0, 0));
        assert_eq!(peer.client.tuning().heartbeat, interval);
        peer.pass(seconds(u64::from(interval) * 5));
        assert!(matches!(peer.end(), ConnectionError::HeartbeatMissed { .. }));
    }
}

#[test]
fn time_that_runs_backwards_changes_nothing() {
    let (mut peer, _) = peer();
    peer.now -= seconds(900);
    let now = peer.instant();
    peer.client.handle_timeout(now);
    peer.send_frame(&Frame::heartbeat());
    assert!(peer.client.is_open());
    assert_eq!(peer.wrote(), [""; 0]);
}
