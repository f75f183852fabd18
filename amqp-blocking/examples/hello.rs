//! Declares a queue, publishes to it, consumes from it and acknowledges.
//!
//! Without `AMQP_URL` it brings a broker of its own, so it runs on a machine that has none:
//!
//! ```console
//! $ cargo run -p amqp-blocking --example hello
//! $ AMQP_URL=amqp://guest:guest@localhost/ cargo run -p amqp-blocking --example hello
//! ```

use amqp_blocking::{
    Publish,
    method::{basic, queue},
};
use amqp_test::example::ExampleBroker;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = ExampleBroker::start()?;

    let connection = amqp_blocking::connect(broker.uri())?;
    let channel = connection.open_channel()?;
    channel.call(queue::Declare::new("hello"))?;
    channel.publish(Publish::new("", "hello").body("Hello world!"))?;

    // Without take() it would wait for more.
    for delivery in channel.consume(basic::Consume::new("hello"))?.take(1) {
        let delivery = delivery?;
        println!("received: {}", delivery.body_str()?);
        delivery.ack()?;
    }
    connection.close()?;
    Ok(())
}
