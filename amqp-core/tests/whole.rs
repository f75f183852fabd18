//! A delivery that comes whole takes a shorter way through the core than one in pieces. Nobody may be able to tell.

#[path = "../benches/scene/mod.rs"]
#[allow(dead_code)]
mod scene;

use amqp_core::{Event, method::Properties};
use bytes::{Buf, Bytes, BytesMut};

use self::scene::{NOW, Scene, two_properties};

/// What the core tells and writes when it reads these octets in pieces of that size.
fn outcome(octets: &[u8], piece: usize) -> (Vec<Event>, Bytes) {
    let mut scene = Scene::new();
    let mut input = BytesMut::new();
    for piece in octets.chunks(piece) {
        input.extend_from_slice(piece);
        scene.connection.receive(&mut input, NOW);
    }
    let events = std::iter::from_fn(|| scene.connection.poll_event()).collect();
    let mut outbox = scene.connection.take_outbox();
    (events, outbox.copy_to_bytes(outbox.remaining()))
}

fn assert_same_in_pieces(octets: &[u8], what: &str) -> Vec<Event> {
    let whole = outcome(octets, octets.len());
    assert_eq!(whole, outcome(octets, 1), "{what}");
    whole.0
}

#[test]
fn a_delivery_is_the_same_whole_and_in_pieces() {
    let scene = Scene::new();
    for properties in [Properties::new(), two_properties()] {
        for body in [&b""[..], b"x", &[b'x'; 5000]] {
            let octets = scene.delivery(body, &properties);
            let events = assert_same_in_pieces(&octets.repeat(3), &format!("{} octets, {properties:?}", body.len()));
            let bodies: Vec<_> = events
                .iter()
                .map(|event| match event {
                    Event::Delivery(delivery) => (delivery.body().clone(), delivery.properties().unwrap()),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(bodies, vec![(Bytes::copy_from_slice(body), properties.clone()); 3]);
        }
    }
}

#[test]
fn a_damaged_delivery_is_the_same_whole_and_in_pieces() {
    let delivery = Scene::new().delivery(b"a body", &two_properties());
    for at in 0..delivery.len() {
        for damage in [1, 2, 0x80, 0xff] {
            let mut octets = delivery.repeat(3);
            octets[delivery.len() + at] ^= damage;
            assert_same_in_pieces(&octets, &format!("octet {at} ^ {damage}"));
        }
    }
}

#[test]
fn a_body_frame_behind_an_empty_body_is_the_same_whole_and_in_pieces() {
    let mut octets = Scene::new().delivery(b"", &Properties::new()).to_vec();
    octets.extend_from_slice(b"\x03\0\x01\0\0\0\0\xce");
    let events = assert_same_in_pieces(&octets, "an empty body frame");
    assert!(matches!(events.last(), Some(Event::Closed(_))), "{events:?}");
}
