//! How much memory the data plane asks for: nothing for a publish, a delivery or an acknowledgement.
//!
//! Counted are all calls of this thread to the global allocator, a growing buffer's included, from the call into the
//! core to the event or the outbox. Everything is done once before, so that buffers and queues have their size; what
//! remains is what each further message costs. The buffer that the driver reads into is the driver's: it is filled
//! outside of the count, and one allocation for each read is allowed, with which `bytes` makes the buffer shareable.

#[path = "../benches/scene/mod.rs"]
mod scene;

use allocation_counter::measure;
use amqp_core::{Event, method::Properties};
use bytes::BytesMut;

use self::scene::{NOW, Scene, one_read, two_properties};

/// So many that a cost for every few messages would show.
const ROUNDS: usize = 100;
const BODIES: [&[u8]; 2] = [&[b'x'; 16], &[b'x'; 1024]];

/// How often `work` allocates once it has been done before.
fn allocations(mut work: impl FnMut()) -> u64 {
    for _ in 0..3 {
        work();
    }
    measure(work).count_total
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1]))), 1);
}

#[test]
fn a_publish_allocates_nothing() {
    let properties = two_properties();
    for body in BODIES {
        for properties in [None, Some(&properties)] {
            let mut scene = Scene::new();
            let batch = || {
                for _ in 0..ROUNDS {
                    scene.publish(body, properties);
                }
                assert!(scene.write() > ROUNDS * body.len());
            };
            assert_eq!(allocations(batch), 0, "{} octets, {properties:?}", body.len());
        }
    }
}

#[test]
fn a_delivery_shares_the_read_buffer_and_allocates_nothing() {
    for body in BODIES {
        for properties in [Properties::new(), two_properties()] {
            let mut scene = Scene::new();
            let (read, messages) = one_read(&scene.delivery(body, &properties));
            let mut input = BytesMut::new();
            let mut counted = 0;
            for round in 0..ROUNDS {
                input.extend_from_slice(&read);
                let info = measure(|| assert_eq!(deliveries(&mut scene, &mut input), messages));
                if round >= 3 {
                    counted = counted.max(info.count_total);
                }
            }
            assert!(messages > 50 && counted <= 1, "{counted} allocations for {messages} deliveries");
        }
    }
}

#[test]
fn an_acknowledgement_allocates_nothing() {
    let mut scene = Scene::new();
    let mut input = BytesMut::from(&scene.delivery(b"job", &Properties::new())[..]);
    scene.connection.receive(&mut input, NOW);
    let Some(Event::Delivery(delivery)) = scene.connection.poll_event() else { panic!("a delivery") };
    let batch = || {
        for _ in 0..ROUNDS {
            let mut channel = scene.connection.channel(scene.channel).expect("the channel is open");
            channel.send(delivery.ack()).expect("a legal acknowledgement");
        }
        assert!(scene.write() > ROUNDS);
    };
    assert_eq!(allocations(batch), 0);
}

/// Takes what was read, and counts the deliveries in it.
fn deliveries(scene: &mut Scene, input: &mut BytesMut) -> usize {
    scene.connection.receive(input, NOW);
    std::iter::from_fn(|| scene.connection.poll_event()).filter(|event| matches!(event, Event::Delivery(_))).count()
}
