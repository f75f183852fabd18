//! Transactions: all or nothing, also when the work fails or panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use amqp_blocking::{
    Error, Misuse, Publish,
    method::{basic, confirm},
};
use amqp_test::brokers::on_every_broker;

use crate::support::{blamed, eventually, fill, get, new_queue, open, ready, soft, spoil, wait_for_length};

#[test]
fn what_succeeds_is_committed_and_what_fails_is_not() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let other = connection.open_channel().unwrap();
        let queue = new_queue(&other);
        let publish = |body: &str| channel.publish(Publish::new("", &queue).body(body)).map(drop);
        channel.with_tx(|_| publish("kept")).unwrap();
        let failure = channel.with_tx(|_| publish("lost").and(Err::<(), _>(Error::WouldBlock)));
        assert_eq!(failure, Err(Error::WouldBlock));
        let panic = catch_unwind(AssertUnwindSafe(|| {
            channel.with_tx(|_| {
                publish("lost too")?;
                panic!("on purpose");
                #[allow(unreachable_code)]
                Ok(())
            })
        }));
        assert!(panic.is_err());
        channel.with_tx(|_| publish("kept too")).unwrap();
        wait_for_length(&other, &queue, 2);
        let bodies = [(); 2].map(|()| get(&other, &queue).unwrap().body_str().unwrap().to_owned());
        assert_eq!(bodies, ["kept", "kept too"]);
    });
}

#[test]
fn acknowledgements_that_are_rolled_back_are_taken_back() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let other = connection.open_channel().unwrap();
        let queue = new_queue(&other);
        fill(&other, &queue, ["message"]);
        let failure = channel.with_tx(|channel| {
            eventually(|| channel.get(basic::Get::new(&queue)).unwrap()).ack()?;
            Err::<(), _>(Error::WouldBlock)
        });
        assert_eq!(failure, Err(Error::WouldBlock));
        channel.close().unwrap();
        wait_for_length(&other, &queue, 1);
    });
}

#[test]
fn a_bad_publish_fails_the_transaction() {
    on_every_broker(|uri| {
        let (_connection, channel) = open(uri);
        let failure = channel.with_tx(spoil).unwrap_err();
        assert_eq!(soft(&failure), blamed(404, "basic.publish"));
    });
}

#[test]
fn a_channel_has_confirms_or_transactions() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        channel.with_tx(|_| Ok(())).unwrap();
        let misuse = Error::Misuse(Misuse::ConfirmsAndTransactions);
        assert_eq!(channel.call(confirm::Select::new()).unwrap_err(), misuse);
        let confirming = connection.open_channel().unwrap();
        confirming.call(confirm::Select::new()).unwrap();
        assert_eq!(confirming.with_tx(|_| Ok(())).unwrap_err(), misuse);
        assert_eq!(ready(&channel, &new_queue(&channel)), 0, "the channel goes on");
    });
}
