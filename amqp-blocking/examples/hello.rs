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
use amqp_test::broker::EmbeddedBroker;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = EmbeddedBroker::unless_given("AMQP_URL")?;

    let connection = amqp_blocking::connect(broker.uri())?;
    let channel = connection.open_channel()?;
    channel.call(queue::Declare::new("hello"))?;
    channel.publish(Publish::new("", "hello").body("Hello world!"))?;

    for delivery in channel.consume(basic::Consume::new("hello"))? {
        let delivery = delivery?;
        println!("received: {}", delivery.body_str()?);
        delivery.ack()?;
        break; // one message was published
    }
    connection.close()?;
    Ok(())
}
