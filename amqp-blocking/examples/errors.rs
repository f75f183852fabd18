//! Where errors come out: at the call that failed if it has an answer, otherwise at the next operation, at every later
//! one, and at the latest at the end of `with_channel`.
//!
//! Every line names the operation that reported the error, the broker's reply code, and the method that the broker
//! blames. They are the same on the embedded broker and, with `AMQP_URL` set, on RabbitMQ.

use std::{thread, time::Duration};

use amqp_blocking::{
    Channel, Error, Publish,
    method::{basic, channel, queue},
};
use amqp_test::example::ExampleBroker;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = ExampleBroker::start()?;
    let connection = amqp_blocking::connect(broker.uri())?;

    println!("A synchronous method fails where it is called.");
    let channel = connection.open_channel()?;
    report("queue.bind", channel.call(queue::Bind::new("no-such-queue", "no-such-exchange", "key")));

    println!("Publishing has no answer: the next operation reports the error, and so does every later one.");
    let channel = connection.open_channel()?;
    let unharmed = connection.open_channel()?;
    report("publish to a missing exchange", publish(&channel, "no-such-exchange"));
    wait_for_the_error(&channel);
    report("publish to a good exchange", publish(&channel, "amq.fanout"));
    report("queue.declare", channel.call(queue::Declare::server_named()));
    report("basic.qos", channel.call(basic::Qos::new(1)));
    report("close", channel.close());

    println!("The end of with_channel reports it at the latest.");
    report("with_channel", connection.with_channel(|channel| publish(channel, "no-such-exchange")));

    println!("So it does when the error was there before the end.");
    let scope = connection.with_channel(|channel| {
        publish(channel, "no-such-exchange")?;
        wait_for_the_error(channel);
        Ok(())
    });
    report("with_channel", scope);

    println!("Another channel is unharmed by all of this.");
    report("queue.declare", unharmed.call(queue::Declare::server_named()));

    println!("An error of the connection is seen by every channel.");
    let channel = connection.open_channel()?;
    report("channel.flow", channel.call(channel::Flow::new(false)));
    report("queue.declare on the same channel", channel.call(queue::Declare::server_named()));
    report("queue.declare on another channel", unharmed.call(queue::Declare::server_named()));
    report("open_channel", connection.open_channel());
    Ok(())
}

fn publish(channel: &Channel, exchange: &str) -> Result<(), Error> {
    channel.publish(Publish::new(exchange, "status.update").body("AMQP is cool")).map(|_| ())
}

/// Gives the broker's answer to an operation without an answer the time to arrive. Only an example has to.
fn wait_for_the_error(channel: &Channel) {
    while channel.check().is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
}

fn report<T>(operation: &str, result: Result<T, Error>) {
    match result {
        Ok(_) => println!("  {operation}: ok"),
        Err(error) => match error.close() {
            Some(close) => println!(
                "  {operation}: {}, blamed on {}",
                close.code,
                close.method.map_or("nothing".into(), |method| method.to_string())
            ),
            None => println!("  {operation}: {error}"),
        },
    }
}
