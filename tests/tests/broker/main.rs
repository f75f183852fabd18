//! The embedded broker, by transcripts: what a client sends, and what it sees.
//!
//! Most transcripts were measured on RabbitMQ 3.10.8 and are run on both brokers: on the embedded one each is a test of
//! its own, on a real RabbitMQ they are one, `a_real_rabbitmq_behaves_the_same`. What depends on time, or on reaching
//! into the broker, runs on the embedded one alone.

#[macro_use]
mod support;

mod alarms;
mod arguments;
mod bindings;
mod channels;
mod confirms;
mod connections;
mod consumers;
mod deliveries;
mod exchanges;
mod frames;
mod handshake;
mod hostile;
mod letters;
mod queues;
mod tcp;
mod timers;
mod transactions;

#[test]
fn a_real_rabbitmq_behaves_the_same() {
    let node = amqp_test::rabbitmq::RabbitMq::shared().unwrap_or_else(|error| panic!("{error}"));
    let world = support::World::tcp(node.port());
    let suites = [
        arguments::CASES,
        bindings::CASES,
        channels::CASES,
        confirms::CASES,
        connections::CASES,
        consumers::CASES,
        deliveries::CASES,
        exchanges::CASES,
        frames::CASES,
        handshake::CASES,
        letters::CASES,
        queues::CASES,
        transactions::CASES,
    ];
    let failed: Vec<&str> = suites
        .concat()
        .into_iter()
        .filter_map(|(name, case)| {
            let run = std::panic::AssertUnwindSafe(|| case(&world));
            std::panic::catch_unwind(run).err().map(|_| name)
        })
        .collect();
    assert!(failed.is_empty(), "RabbitMQ does not agree with: {failed:?}");
}
