//! Dead letters, and queues that are full.

use amqp_core::{
    method::{Properties, basic, queue},
    wire::{Table, Value},
};

use crate::support::{get, on, own, own_with, publish_with, to_queue};

/// Dead messages go to the queue `d`.
fn to_d() -> Table {
    Table::new().with("x-dead-letter-exchange", "").with("x-dead-letter-routing-key", "d")
}

cases! {
    fn a_rejected_message_tells_its_story(world) {
        let mut client = world.open();
        client.send(&[own("d"), own_with("q", to_d())], &["1 queue.declare-ok d 0 0", "1 queue.declare-ok q 0 0"]);
        client.send(&[on(1, queue::Bind::new("q", "amq.direct", "k"))], &["1 queue.bind-ok"]);
        let headers = Table::new().with("h", 1).with("CC", vec![Value::from("c")]);
        let properties = Properties::new().headers(headers).expiration("100000");
        client.send(&[publish_with(1, basic::Publish::new("amq.direct", "k"), &properties, "x")], &[]);
        client.send(&[get("q")], &["1 basic.get-ok 1, 0 left 'x' {h=1, CC=[c]}"]);
        client.send(&[on(1, basic::Reject::new(1))], &[]);
        client.send(&[get("d")], &["1 basic.get-ok 2, 0 left 'x' {h=1, x-death=[{count=1, reason=rejected, queue=q, time=time, \
            exchange=amq.direct, routing-keys=[k, c], original-expiration=100000}], \
            x-first-death-exchange=amq.direct, x-first-death-queue=q, x-first-death-reason=rejected}"]);
    }

    fn every_death_is_counted(world) {
        let mut client = world.open();
        let to_q = Table::new().with("x-dead-letter-exchange", "").with("x-dead-letter-routing-key", "q");
        client.send(&[own_with("d", to_q), own_with("q", to_d()), to_queue("q", "x")],
            &["1 queue.declare-ok d 0 0", "1 queue.declare-ok q 0 0"]);
        let reject = |tag| on(1, basic::Nack::new(tag).discard());
        client.send(&[get("q")], &["1 basic.get-ok 1, 0 left 'x'"]);
        client.send(&[reject(1)], &[]);
        client.raw(&get("d"));
        client.frames(3);
        client.send(&[reject(2)], &[]);
        client.raw(&get("q"));
        client.frames(3);
        client.send(&[reject(3)], &[]);
        client.send(&[get("d")], &["1 basic.get-ok 4, 0 left 'x' {x-death=[\
            {count=2, exchange=, queue=q, reason=rejected, routing-keys=[q], time=time}, \
            {count=1, exchange=, queue=d, reason=rejected, routing-keys=[d], time=time}], \
            x-first-death-exchange=, x-first-death-queue=q, x-first-death-reason=rejected}"]);
    }

    fn a_full_queue_drops_its_oldest_messages(world) {
        let mut client = world.open();
        client.send(&[own("d"), own_with("q", to_d().with("x-max-length", 1))],
            &["1 queue.declare-ok d 0 0", "1 queue.declare-ok q 0 0"]);
        client.send(&[to_queue("q", "a"), to_queue("q", "b")], &[]);
        client.send(&[get("q"), get("q")], &["1 basic.get-ok 1, 0 left 'b'", "1 basic.get-empty"]);
        client.send(&[get("d")], &["1 basic.get-ok 2, 0 left 'a' {x-death=[{count=1, reason=maxlen, queue=q, time=time, \
            exchange=, routing-keys=[q]}], x-first-death-exchange=, x-first-death-queue=q, x-first-death-reason=maxlen}"]);
    }

    fn a_queue_can_refuse_and_bury_at_once(world) {
        let mut client = world.open();
        let arguments = to_d().with("x-max-length", 1).with("x-overflow", "reject-publish-dlx");
        client.send(&[own("d"), own_with("q", arguments)], &["1 queue.declare-ok d 0 0", "1 queue.declare-ok q 0 0"]);
        client.send(&[on(1, amqp_core::method::confirm::Select::new())], &["1 confirm.select-ok"]);
        client.send(&[to_queue("q", "a")], &["1 basic.ack 1"]);
        client.send(&[to_queue("q", "b")], &["1 basic.nack 2 multiple"]);
        client.send(&[get("d")], &["1 basic.get-ok 1, 0 left 'b' {x-death=[{count=1, reason=maxlen, queue=q, time=time, \
            exchange=, routing-keys=[q]}], x-first-death-exchange=, x-first-death-queue=q, x-first-death-reason=maxlen}"]);
    }

    fn without_a_new_key_a_dead_message_keeps_its_own(world) {
        let mut client = world.open();
        let arguments = Table::new().with("x-dead-letter-exchange", "amq.fanout");
        client.send(&[own("d"), own_with("q", arguments)], &["1 queue.declare-ok d 0 0", "1 queue.declare-ok q 0 0"]);
        client.send(&[on(1, queue::Bind::new("d", "amq.fanout", ""))], &["1 queue.bind-ok"]);
        client.send(&[to_queue("q", "x")], &[]);
        client.send(&[get("q")], &["1 basic.get-ok 1, 0 left 'x'"]);
        client.send(&[on(1, basic::Reject::new(1))], &[]);
        client.raw(&get("d"));
        let amqp_core::method::AnyMethod::BasicGetOk(got) = client.take_one("basic.get-ok") else { unreachable!() };
        assert_eq!((got.exchange.to_string(), got.routing_key.to_string()), ("amq.fanout".to_owned(), "q".to_owned()));
        client.frames(2);
    }

    fn a_consumer_may_have_what_is_too_much_for_the_queue(world) {
        let mut client = world.open();
        client.send(&[own_with("q", Table::new().with("x-max-length", 0))], &["1 queue.declare-ok q 0 0"]);
        client.send(&[crate::support::consume("q", "t")], &["1 basic.consume-ok t"]);
        client.send(&[to_queue("q", "x")], &["1 basic.deliver t 1 'x'"]);
    }

    fn priorities_come_first(world) {
        let mut client = world.open();
        client.send(&[own_with("q", Table::new().with("x-max-priority", 5))], &["1 queue.declare-ok q 0 0"]);
        let message = |priority| {
            publish_with(1, basic::Publish::new("", "q"), &Properties::new().priority(priority), &priority.to_string())
        };
        client.send(&[message(1), message(9), message(5), message(0), to_queue("q", "none")], &[]);
        client.send(&[get("q"), get("q"), get("q"), get("q"), get("q")], &[
            "1 basic.get-ok 1, 4 left '9'",
            "1 basic.get-ok 2, 3 left '5'",
            "1 basic.get-ok 3, 2 left '1'",
            "1 basic.get-ok 4, 1 left '0'",
            "1 basic.get-ok 5, 0 left 'none'",
        ]);
    }
}
