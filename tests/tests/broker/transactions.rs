//! Transactions: all at the end, or nothing.

use amqp_core::{
    method::{AnyMethod, basic, queue, tx},
    wire::Table,
};
use bytes::BytesMut;

use crate::support::{Client, World, consume, get, on, own, own_with, publish, to_queue};

fn commit() -> BytesMut {
    on(1, tx::Commit::new())
}

fn rollback() -> BytesMut {
    on(1, tx::Rollback::new())
}

fn passive(name: &str) -> BytesMut {
    on(1, queue::Declare::new(name).passive())
}

/// A channel with a queue, which has begun a transaction.
fn begun(world: &World, messages: &[&str]) -> Client {
    let mut client = world.open();
    client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
    let messages: Vec<BytesMut> = messages.iter().map(|body| to_queue("q", body)).collect();
    client.send(&messages, &[]);
    client.send(&[on(1, tx::Select::new())], &["1 tx.select-ok"]);
    client
}

cases! {
    fn publishes_wait_for_the_commit(world) {
        let mut client = begun(world, &[]);
        client.send(&[to_queue("q", "a"), passive("q")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[commit()], &["1 tx.commit-ok"]);
        client.send(&[passive("q")], &["1 queue.declare-ok q 1 0"]);
        client.send(&[to_queue("q", "b"), rollback()], &["1 tx.rollback-ok"]);
        client.send(&[commit()], &["1 tx.commit-ok"]);
        client.send(&[passive("q")], &["1 queue.declare-ok q 1 0"]);
    }

    fn returns_come_with_the_commit(world) {
        let mut client = begun(world, &[]);
        let lost = publish(1, basic::Publish::new("", "nowhere").mandatory(), "x");
        client.send(&[lost, on(1, basic::Qos::new(0))], &["1 basic.qos-ok"]);
        client.send(&[commit()], &["1 basic.return 312 NO_ROUTE '' 'nowhere' 'x'", "1 tx.commit-ok"]);
    }

    fn errors_do_not_wait(world) {
        let error = "1 channel.close 404 basic.publish NOT_FOUND - no exchange 'nope' in vhost '/'";
        begun(world, &[]).send(&[publish(1, basic::Publish::new("nope", ""), "x")], &[error]);
        let error = "1 channel.close 406 basic.ack PRECONDITION_FAILED - unknown delivery tag 5";
        begun(world, &[]).send(&[on(1, basic::Ack::new(5))], &[error]);
        let mut client = begun(world, &["a"]);
        client.send(&[get("q")], &["1 basic.get-ok 1, 0 left 'a'"]);
        let error = "1 channel.close 406 basic.ack PRECONDITION_FAILED - unknown delivery tag 1";
        client.send(&[on(1, basic::Ack::new(1)), on(1, basic::Ack::new(1))], &[error]);
    }

    fn what_is_settled_is_taken_back_by_a_rollback(world) {
        let mut client = begun(world, &["a", "b"]);
        client.send(&[get("q"), get("q")], &["1 basic.get-ok 1, 1 left 'a'", "1 basic.get-ok 2, 0 left 'b'"]);
        client.send(&[on(1, basic::Ack::new(1)), rollback()], &["1 tx.rollback-ok"]);
        client.send(&[on(1, basic::Ack::new(1)), on(1, basic::Nack::new(2)), get("q")], &["1 basic.get-empty"]);
        client.send(&[commit()], &["1 tx.commit-ok"]);
        client.send(&[get("q"), get("q")], &["1 basic.get-ok 3 again, 0 left 'b'", "1 basic.get-empty"]);
    }

    fn prefetch_waits_for_the_commit_too(world) {
        let mut client = begun(world, &["a", "b"]);
        client.send(&[on(1, basic::Qos::new(1))], &["1 basic.qos-ok"]);
        client.send(&[consume("q", "t")], &["1 basic.consume-ok t", "1 basic.deliver t 1 'a'"]);
        client.send(&[on(1, basic::Ack::new(1))], &[]);
        client.send(&[commit()], &["1 tx.commit-ok", "1 basic.deliver t 2 'b'"]);
    }

    fn what_is_not_committed_returns_with_the_channel(world) {
        let mut client = begun(world, &["a"]);
        client.open(2);
        client.send(&[get("q"), on(1, basic::Ack::new(1)), to_queue("q", "never")], &["1 basic.get-ok 1, 0 left 'a'"]);
        let close = amqp_core::method::channel::Close::new(amqp_core::method::ReplyCode::REPLY_SUCCESS, "");
        client.send(&[on(1, close)], &["1 channel.close-ok"]);
        let fetch = || on(2, basic::Get::new("q"));
        client.send(&[fetch(), fetch()], &["2 basic.get-ok 1 again, 0 left 'a'", "2 basic.get-empty"]);
    }

    fn nothing_may_follow_a_commit_that_queues_have_to_answer(world) {
        let methods: [AnyMethod; 2] = [basic::Qos::new(0).into(), tx::Commit::new().into()];
        for method in methods {
            let mut client = begun(world, &[]);
            let error = format!("0 connection.close 504 {} CHANNEL_ERROR - unexpected command while processing \
                                 'tx.commit'", method.id());
            client.send(&[to_queue("q", "x"), commit(), on(1, method)], &[&error]);
        }
        begun(world, &[]).send(&[to_queue("q", "x"), rollback(), on(1, basic::Qos::new(0))],
            &["1 tx.rollback-ok", "1 basic.qos-ok"]);
        let close = amqp_core::method::channel::Close::new(amqp_core::method::ReplyCode::REPLY_SUCCESS, "");
        begun(world, &[]).send(&[to_queue("q", "x"), commit(), on(1, close)], &["1 channel.close-ok"]);
    }

    fn a_queue_that_refuses_spoils_the_commit(world) {
        let mut client = world.open();
        let arguments = Table::new().with("x-max-length", 0).with("x-overflow", "reject-publish");
        client.send(&[own_with("q", arguments), on(1, tx::Select::new())], &["1 queue.declare-ok q 0 0", "1 tx.select-ok"]);
        let error = "1 channel.close 406 tx.commit PRECONDITION_FAILED - partial tx completion";
        client.send(&[to_queue("q", "x"), commit()], &[error]);
    }

    fn there_is_no_end_without_a_beginning(world) {
        for method in [AnyMethod::from(tx::Commit::new()), tx::Rollback::new().into()] {
            let error = format!("1 channel.close 406 {} PRECONDITION_FAILED - channel is not transactional", method.id());
            world.open().send(&[on(1, method)], &[&error]);
        }
        world.open().send(&[on(1, tx::Select::new()), on(1, tx::Select::new())], &["1 tx.select-ok"; 2]);
    }
}
