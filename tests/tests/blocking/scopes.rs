//! `with_channel`: nothing that went wrong in it is missed, and of several things none is lost.

use amqp_blocking::{
    ChannelError, Error, Misuse, Notice, Publish,
    method::{basic, queue},
};
use amqp_test::brokers::on_every_broker;

use crate::support::{blamed, fault, get, new_queue, notices, open, soft, spoil};

/// An error that a program could come up with.
const OWN_ERROR: Error = Error::Misuse(Misuse::SettledAlready);

#[test]
fn a_scope_gives_what_its_work_gives() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let queue = new_queue(&channel);
        let receipt = connection.with_channel(|scope| scope.publish(Publish::new("", &queue).body("kept"))).unwrap();
        assert_eq!(receipt.delivery_tag(), None);
        assert_eq!(get(&channel, &queue).unwrap().body_str(), Ok("kept"));
        assert_eq!(notices(&connection), []);
    });
}

#[test]
fn a_scope_reports_the_error_of_a_publish_at_its_end() {
    on_every_broker(|uri| {
        let (connection, _channel) = open(uri);
        let error = connection.with_channel(spoil).unwrap_err();
        assert_eq!(soft(&error), blamed(404, "basic.publish"));
        assert_eq!(notices(&connection), []);
    });
}

#[test]
fn a_scope_reports_an_error_that_came_before_its_end() {
    on_every_broker(|uri| {
        let (connection, _channel) = open(uri);
        let error = connection.with_channel(|scope| {
            spoil(scope)?;
            fault(scope);
            Ok(())
        });
        assert_eq!(soft(&error.unwrap_err()), blamed(404, "basic.publish"));

        // The same when no operation on the channel has seen it: another channel's answer came behind it.
        let error = connection.with_channel(|scope| {
            spoil(scope)?;
            connection.with_channel(|other| other.call(basic::Qos::new(1)))
        });
        assert_eq!(soft(&error.unwrap_err()), blamed(404, "basic.publish"));
        assert_eq!(notices(&connection), []);
    });
}

#[test]
fn a_scope_returns_the_error_of_its_work_and_leaves_a_notice_of_the_other() {
    on_every_broker(|uri| {
        let (connection, _channel) = open(uri);
        let mut number = 0;
        let error = connection.with_channel::<()>(|scope| {
            number = scope.number();
            spoil(scope)?;
            Err(OWN_ERROR)
        });
        assert_eq!(error, Err(OWN_ERROR));
        let left = notices(&connection);
        let [Notice::Unreported { channel, error }] = left.as_slice() else { panic!("{left:?}") };
        assert_eq!((*channel, soft(error)), (number, blamed(404, "basic.publish")));
    });
}

#[test]
fn a_scope_that_passes_its_channels_error_on_tells_it_once() {
    on_every_broker(|uri| {
        let (connection, _channel) = open(uri);
        let error = connection.with_channel(|scope| {
            spoil(scope)?;
            scope.call(queue::Declare::server_named())
        });
        assert_eq!(soft(&error.unwrap_err()), blamed(404, "basic.publish"));
        assert_eq!(notices(&connection), []);
    });
}

#[test]
fn a_scope_reports_a_message_that_came_back() {
    on_every_broker(|uri| {
        let (connection, _channel) = open(uri);
        let unroutable = |body: &'static str| Publish::new("", "no-such-queue").body(body).mandatory();
        let error = connection.with_channel(|scope| {
            scope.publish(unroutable("first"))?;
            scope.publish(unroutable("second")).map(|_| ())
        });
        let error = error.unwrap_err();
        let Error::Channel(ChannelError::Returned(returned)) = &error else { panic!("{error:?}") };
        assert_eq!((returned.reply_code().0, returned.body_str()), (312, Ok("first")));
        assert_eq!(returned.routing_key().to_text(), "no-such-queue");

        let left = notices(&connection);
        let [Notice::Unreported { error: Error::Channel(ChannelError::Returned(other)), .. }] = left.as_slice() else {
            panic!("{left:?}")
        };
        assert_eq!(other.body_str(), Ok("second"));
    });
}

#[test]
fn a_scope_keeps_its_own_error_a_returned_message_and_the_fault() {
    on_every_broker(|uri| {
        let (connection, _channel) = open(uri);
        let error = connection.with_channel::<()>(|scope| {
            scope.publish(Publish::new("", "no-such-queue").body("back").mandatory())?;
            spoil(scope)?;
            Err(OWN_ERROR)
        });
        assert_eq!(error, Err(OWN_ERROR));
        let left = notices(&connection);
        let [
            Notice::Unreported { error: Error::Channel(ChannelError::Returned(returned)), .. },
            Notice::Unreported { error, .. },
        ] = left.as_slice()
        else {
            panic!("{left:?}")
        };
        assert_eq!((returned.body_str(), soft(error)), (Ok("back"), blamed(404, "basic.publish")));
    });
}

#[test]
fn a_returned_message_is_no_fault_and_waits_for_whoever_takes_it() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        channel.publish(Publish::new("", "no-such-queue").body("back").mandatory()).unwrap();
        channel.call(basic::Qos::new(1)).unwrap();
        let returned = channel.take_returned();
        assert_eq!(returned.len(), 1);
        assert_eq!(returned[0].body_str(), Ok("back"));
        assert!(channel.take_returned().is_empty());

        channel.publish(Publish::new("", "no-such-queue").body("unseen").mandatory()).unwrap();
        channel.close().unwrap();
        drop(channel);
        let left = notices(&connection);
        let [Notice::Returned(returned)] = left.as_slice() else { panic!("{left:?}") };
        assert_eq!(returned.body_str(), Ok("unseen"));
    });
}

#[test]
fn a_panic_in_a_scope_closes_its_channel_and_leaves_the_connection() {
    on_every_broker(|uri| {
        let (connection, channel) = open(uri);
        let work = || connection.with_channel::<()>(|_| panic!("on purpose"));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
        channel.call(basic::Qos::new(1)).unwrap();
        connection.close().unwrap();
    });
}
