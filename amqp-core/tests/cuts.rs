//! Every cut: a conversation means the same in whatever pieces it arrives, and ends well wherever it breaks off.

mod support;

use amqp_core::{
    Cause, ConnectionError, Event,
    error::Stage,
    frame::{Decoder, FrameLimits},
};
use bytes::BytesMut;

use self::support::{
    conversation::{Performance, acts, recorded},
    random::Random,
    script::told,
    shown,
};

/// What the client tells and writes when each act arrives in pieces of the sizes that `piece` gives.
fn perform(mut piece: impl FnMut() -> usize) -> (Vec<Event>, Vec<String>) {
    let mut performance = Performance::new();
    for (act, octets) in acts().iter().enumerate() {
        performance.act(act);
        let mut rest = &octets[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(piece().min(rest.len()));
            performance.receive(now);
            rest = later;
        }
    }
    performance.assert_over("the whole conversation");
    let wrote = performance.wrote();
    (performance.events, wrote)
}

#[test]
fn the_recording_is_what_it_says_it_is() {
    let mut decoder = Decoder::new(FrameLimits { body: 131_072, other: 131_072 });
    for (name, octets) in recorded().concat() {
        let frame = decoder.decode(&mut BytesMut::from(&octets[..])).unwrap().expect("a whole frame");
        assert_eq!(shown(&frame), name);
    }
}

#[test]
fn the_conversation_in_one_piece_is_understood() {
    let (events, wrote) = perform(|| usize::MAX);
    let told = told(&events);
    let expected = [
        "opened",
        "CallId(1) answered",
        "CallId(2) answered",
        "CallId(3) answered",
        "CallId(4) answered",
        "CallId(6) answered",
        "CallId(5) answered",
        "1 1..=1 returned 312",
        "1 2..=2 acked",
    ];
    assert_eq!(told[..9], expected);
    assert!(told[9].starts_with("CallId(10) failed: Channel(ClosedByBroker"), "{}", told[9]);
    assert!(told[10].starts_with("2 closed: ClosedByBroker"), "{}", told[10]);
    let expected = [
        "1 delivery 1 for t: hello-world",
        "1 delivery 2 for t: ",
        "blocked: low on memory",
        "CallId(7) answered",
        "unblocked",
        "CallId(8) answered",
        "1 cancelled t",
        "CallId(9) failed: Connection(Closed)",
        "closed: Closed",
    ];
    assert_eq!(told[11..], expected);
    let (start, end) = (&wrote[..5], &wrote[wrote.len() - 2..]);
    let handshake = ["0 connection.start-ok", "0 connection.tune-ok", "0 connection.open"];
    assert_eq!(start, [&handshake[..], &["1 channel.open", "2 channel.open"]].concat());
    assert_eq!(end, ["2 channel.close-ok", "0 connection.close"]);
}

#[test]
fn the_conversation_octet_by_octet_is_the_same() {
    assert_eq!(perform(|| 1), perform(|| usize::MAX));
}

#[test]
fn the_conversation_in_random_pieces_is_the_same() {
    let whole = perform(|| usize::MAX);
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let largest = 1 + random.below(200);
        assert_eq!(perform(|| 1 + random.below(largest)), whole, "seed {seed}");
    }
}

/// Where the frames of the handshake end, and how long the acts are together.
fn milestones() -> ([usize; 3], [usize; 3]) {
    let sum = |total: &mut usize, size: usize| {
        *total += size;
        Some(*total)
    };
    let frames: Vec<_> = recorded()[0].iter().map(|(_, octets)| octets.len()).scan(0, |t, s| sum(t, s)).collect();
    let acts: Vec<_> = acts().iter().map(Vec::len).scan(0, |t, s| sum(t, s)).collect();
    (frames.try_into().expect("start, tune, open-ok"), acts.try_into().expect("three acts"))
}

/// A conversation of which only that many octets arrive.
fn break_off(after: usize) -> Performance {
    let mut performance = Performance::new();
    let mut left = after;
    for (act, octets) in acts().iter().enumerate() {
        if act > 0 && left == 0 {
            break;
        }
        performance.act(act);
        let arrives = left.min(octets.len());
        performance.receive(&octets[..arrives]);
        left -= arrives;
    }
    performance
}

#[test]
fn a_link_that_breaks_after_any_octet_ends_in_the_right_error() {
    let ([start, tune, open_ok], [_, work, end]) = milestones();
    let cause = Cause::end_of_stream;
    for after in 0..=end {
        let mut performance = break_off(after);
        performance.disconnected();
        performance.assert_over(&format!("broken off after {after} octets"));
        let expected = match after {
            _ if after < start => ConnectionError::Disconnected { stage: Stage::Greeting, cause: cause() },
            _ if after < tune => ConnectionError::AuthenticationProbablyRefused(cause()),
            _ if after < open_ok => ConnectionError::TuningProbablyRefused(cause()),
            _ if after <= work => ConnectionError::Disconnected { stage: Stage::Open, cause: cause() },
            _ => ConnectionError::Closed,
        };
        assert_eq!(performance.client.fault(), Some(&expected), "broken off after {after} octets");
    }
}

#[test]
fn a_server_that_falls_silent_after_any_octet_keeps_nobody_waiting() {
    let ([_, _, open_ok], [_, work, end]) = milestones();
    for after in 0..end {
        let mut performance = break_off(after);
        performance.silence();
        performance.assert_over(&format!("silent after {after} octets"));
        let fault = performance.client.fault().expect("it is over");
        let expected = match after {
            _ if after < open_ok => matches!(fault, ConnectionError::HandshakeTimeout { .. }),
            _ if after <= work => matches!(fault, ConnectionError::HeartbeatMissed { .. }),
            _ => matches!(fault, ConnectionError::CloseTimeout { .. }),
        };
        assert!(expected, "silent after {after} octets: {fault:?}");
    }
}

#[test]
fn what_arrives_before_the_break_is_told_before_the_end() {
    let (whole, _) = perform(|| usize::MAX);
    let (_, [_, work, _]) = milestones();
    for after in 0..=work {
        let mut performance = break_off(after);
        let told = performance.events.len();
        assert_eq!(performance.events, whole[..told], "broken off after {after} octets");
        performance.disconnected();
        assert_eq!(performance.events[..told], whole[..told]);
    }
}
