//! A recorded conversation, damaged at random: nothing panics, nobody waits, and what the client says stays legal.
//!
//! A failure names its seed: `replay` it alone.

mod support;

use amqp_core::{
    Event,
    frame::{Frame, FrameKind},
    method::{Method, MethodId, channel, connection},
};

use self::support::{
    conversation::{Performance, acts, recorded},
    random::Random,
};

const ROUNDS: u64 = 200_000;

/// The frames of one act, some of them changed.
fn damaged(frames: &[(String, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    let mut frames: Vec<Vec<u8>> = frames.iter().map(|(_, octets)| octets.clone()).collect();
    for _ in 0..=random.below(3) {
        let (one, other) = (random.below(frames.len()), random.below(frames.len()));
        let frame = &mut frames[one];
        let at = random.below(frame.len().max(1));
        match random.below(8) {
            0 | 1 if !frame.is_empty() => frame[at] ^= 1 << random.below(8),
            2 | 3 if !frame.is_empty() => frame[at] = [0, 1, 0x7f, 0x80, 0xce, 0xff][random.below(6)],
            4 => frame.truncate(at),
            5 => frame.insert(at.min(frame.len()), random.below(256) as u8),
            6 => frames.swap(one, other),
            _ => {
                let copy = frames[one].clone();
                frames.insert(other, copy);
            }
        }
    }
    frames.concat()
}

fn replay(seed: u64, recorded: &[Vec<(String, Vec<u8>)>], intact: &[Vec<u8>]) {
    let mut random = Random::new(seed);
    let mut performance = Performance::new();
    let victim = random.below(recorded.len());
    for (act, frames) in recorded.iter().enumerate() {
        performance.act(act);
        let octets = if act == victim { damaged(frames, &mut random) } else { intact[act].clone() };
        let piece = 1 + random.below(400);
        for octets in octets.chunks(piece) {
            performance.receive(octets);
        }
    }
    performance.disconnected();
    performance.assert_over(&format!("seed {seed}"));
    let frames = performance.frames();
    let is = |frame: &Frame, id: MethodId| {
        let (class, method) = (id.class.to_be_bytes(), id.method.to_be_bytes());
        frame.kind == FrameKind::Method && frame.payload[..2] == class && frame.payload[2..4] == method
    };
    let closes = frames.iter().filter(|frame| is(frame, connection::Close::ID)).count();
    assert!(closes <= 1, "seed {seed}: {:?}", performance.wrote());
    for channel in [1, 2] {
        // Close-ok is said once, and it is the last word.
        let said: Vec<_> = frames.iter().filter(|frame| frame.channel == channel).collect();
        let end = said.iter().position(|frame| is(frame, channel::CloseOk::ID)).unwrap_or(said.len());
        assert!(said.len() <= end + 1, "seed {seed}: {:?}", performance.wrote());
    }
    look_into(&performance.events);
}

/// Accessors meet whatever arrived.
fn look_into(events: &[Event]) {
    for event in events {
        if let Event::Delivery(delivery) = event {
            let _ = (delivery.properties().is_ok(), delivery.headers().is_ok(), delivery.routing_key().to_text());
        }
    }
}

#[test]
fn damaged_conversations_end_well() {
    let halves = [0, 1].map(|half| {
        std::thread::spawn(move || {
            let (recorded, intact) = (recorded(), acts());
            for seed in (half..ROUNDS).step_by(2) {
                let outcome = std::panic::catch_unwind(|| replay(seed, &recorded, &intact));
                assert!(outcome.is_ok(), "seed {seed} fails");
            }
        })
    });
    for half in halves {
        half.join().expect("no round fails");
    }
}
