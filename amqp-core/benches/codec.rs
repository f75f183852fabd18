//! What one message costs in the core: a publish from the call to the outbox, a delivery from the read buffer to the
//! event, in nanoseconds per message. Beside each the plain copy of the same octets, as a measure of the machine.
//!
//! Buffers are warm and used again, as in a driver that writes and reads some ten KiB at a time. The system calls that
//! empty and fill them are left out.

#[path = "scene/mod.rs"]
mod scene;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use amqp_core::{Event, method::Properties};
use bytes::BytesMut;
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};

use self::scene::{NOW, Scene, one_read, two_properties};

/// How much is queued before the driver writes.
const WRITE_SIZE: usize = 32 * 1024;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    codec(&mut criterion);
    criterion.final_summary();
}

fn codec(criterion: &mut Criterion) {
    let properties = two_properties();
    for (size, body) in [("16 B", &[b'x'; 16][..]), ("1 KiB", &[b'x'; 1024])] {
        for (name, properties) in [(size.to_owned(), None), (format!("{size} with properties"), Some(&properties))] {
            publish(&mut criterion.benchmark_group("publish"), &name, body, properties);
            deliver(&mut criterion.benchmark_group("deliver"), &name, body, properties);
        }
    }
}

/// One iteration is one message.
fn publish(group: &mut Group<'_>, name: &str, body: &[u8], properties: Option<&Properties>) {
    let mut scene = Scene::new();
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|messages| {
            let start = Instant::now();
            for _ in 0..messages {
                scene.publish(black_box(body), black_box(properties));
                if scene.connection.queued_octets() >= WRITE_SIZE {
                    scene.write();
                }
            }
            start.elapsed()
        });
    });
    scene.write();
    scene.publish(body, properties);
    let size = scene.write();
    copy(group, name, &vec![b'x'; size]);
}

/// One iteration is one message; the read that it is a part of is not timed.
fn deliver(group: &mut Group<'_>, name: &str, body: &[u8], properties: Option<&Properties>) {
    let mut scene = Scene::new();
    let message = scene.delivery(body, properties.unwrap_or(&Properties::new()));
    let (read, count) = one_read(&message);
    let mut input = BytesMut::new();
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|messages| {
            let reads = messages.div_ceil(count as u64);
            let mut spent = Duration::ZERO;
            for _ in 0..reads {
                input.extend_from_slice(&read);
                let start = Instant::now();
                scene.connection.receive(&mut input, NOW);
                while let Some(event) = scene.connection.poll_event() {
                    assert!(matches!(black_box(&event), Event::Delivery(_)));
                }
                spent += start.elapsed();
            }
            spent.mul_f64(messages as f64 / (reads * count as u64) as f64)
        });
    });
    copy(group, name, &message);
}

/// The same octets from one buffer to another.
fn copy(group: &mut Group<'_>, name: &str, octets: &[u8]) {
    let mut out = BytesMut::new();
    group.bench_function(format!("{name}, copied"), |bencher| {
        bencher.iter_custom(|messages| {
            let start = Instant::now();
            for _ in 0..messages {
                out.extend_from_slice(black_box(octets));
                if out.len() >= WRITE_SIZE {
                    black_box(&out);
                    out.clear();
                }
            }
            start.elapsed()
        });
    });
}
