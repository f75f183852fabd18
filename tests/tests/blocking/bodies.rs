//! Bodies of every size arrive as they were sent, and large ones let small ones pass.

use amqp_blocking::{
    Channel, Publish,
    method::{Properties, basic},
    wire::{Table, Value},
};
use amqp_test::brokers::on_every_broker;

use crate::support::{PATIENCE, connect_with, get, new_queue, open};

/// Octets in which a lost, doubled or swapped piece shows.
fn body(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

fn assert_round_trip(channel: &Channel, queue: &str, size: usize) {
    let body = body(size);
    channel.publish(Publish::new("", queue).body(&body)).unwrap();
    channel.publish(Publish::new("", queue).body(body.clone())).unwrap();
    for _ in 0..2 {
        let got = get(channel, queue).unwrap();
        assert!(got.body() == &body, "a body of {size} octets came back as {} others", got.body().len());
        got.ack().unwrap();
    }
}

#[test]
fn bodies_arrive_whole_at_every_boundary_of_a_frame() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let frame = connection.tuning().max_body_payload();
        let around = |size: usize| size - 2..=size + 2;
        for size in [0, 1].into_iter().chain(around(frame)).chain(around(frame + 8)).chain(around(2 * frame)) {
            assert_round_trip(&channel, &queue, size);
        }
        connection.close().unwrap();
    });
}

#[test]
fn bodies_of_several_megabytes_arrive_whole() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let queue = new_queue(&channel);
        for size in [272_179, 5_000_000, 12 * 1024 * 1024] {
            assert_round_trip(&channel, &queue, size);
        }
        connection.close().unwrap();
    });
}

#[test]
fn bodies_are_cut_to_the_smallest_frames_there_are() {
    on_every_broker(|uri| {
        // RabbitMQ from 4.1 on takes no less.
        let connection = connect_with(uri, |config| config.frame_max(8192)).unwrap();
        let channel = connection.open_channel().unwrap();
        let queue = new_queue(&channel);
        for size in [8183, 8184, 8185, 16_368, 16_369, 1_000_000] {
            assert_round_trip(&channel, &queue, size);
        }
        connection.close().unwrap();
    });
}

#[test]
fn an_empty_body_keeps_its_properties() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let headers = Table::new().with("attempt", 3).with("nested", Table::new().with("empty", ""));
        let properties = Properties::new().content_type("text/plain").message_id("").headers(headers.clone());
        channel.publish(Publish::new("", &queue).properties(&properties).persistent()).unwrap();
        let got = get(&channel, &queue).unwrap();
        assert!(got.body().is_empty());
        assert_eq!(got.headers().unwrap(), headers);
        let received = got.properties().unwrap();
        assert_eq!((received.content_type, received.message_id), (properties.content_type, properties.message_id));
        assert_eq!((received.delivery_mode, received.priority), (Some(2), None));
        assert_eq!(got.headers().unwrap().get("attempt"), Some(&Value::I32(3)));
    });
}

#[test]
fn a_small_message_overtakes_a_large_one_of_another_channel() {
    on_every_broker(|uri| {
        let (connection, large) = open(uri);
        let small = connection.open_channel().unwrap();
        let queue = new_queue(&large);
        large.publish(Publish::new("", &queue).body(body(40_000_000))).unwrap();
        small.publish(Publish::new("", &queue).body("small")).unwrap();
        let mut consumer = small.consume(basic::Consume::new(queue.as_str()).no_ack()).unwrap();
        let mut next = || consumer.next_timeout(PATIENCE).unwrap().unwrap().body().len();
        assert_eq!([next(), next()], [5, 40_000_000]);
    });
}

#[test]
fn messages_of_one_channel_keep_their_order_whatever_their_size() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let sizes = [3_000_000, 1, 200_000, 0, 20_000, 2];
        for size in sizes {
            channel.publish(Publish::new("", &queue).body(body(size))).unwrap();
        }
        let received = sizes.map(|_| get(&channel, &queue).unwrap().body().len());
        assert_eq!(received, sizes);
        channel.close().unwrap();
    });
}
