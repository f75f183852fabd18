//! A program without an operating system that speaks AMQP: a static library with nothing but `core`, `alloc`, a heap
//! in a static array, and its own end for panics.
//!
//! The last is the proof. A program has exactly one panic handler, and `std` brings one: if `amqp-core` or anything
//! that it depends on used `std`, the compiler would find two (E0152) and refuse.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;
use core::panic::PanicInfo;

use amqp_core::{Config, Connection, Event, Instant, Publish};
use bytes::{Buf, BytesMut};

/// Where all memory comes from.
#[global_allocator]
static HEAP: emballoc::Allocator<65536> = emballoc::Allocator::new();

/// One turn of a driver's loop: takes what was received, publishes when the connection is open, and gives what to send.
pub fn turn(connection: &mut Connection, received: &[u8], now: Instant) -> Vec<u8> {
    connection.receive(&mut BytesMut::from(received), now);
    while let Some(event) = connection.poll_event() {
        if matches!(event, Event::Opened)
            && let Ok((id, _opening)) = connection.open_channel()
            && let Ok(mut channel) = connection.channel(id)
        {
            let _ = channel.publish(Publish::new("", "bare").body("no operating system"));
        }
    }
    connection.handle_timeout(now);
    let outbox = connection.outbox();
    let octets = outbox.copy_to_bytes(outbox.remaining());
    octets.to_vec()
}

/// The connection that such a program starts with.
pub fn start(now: Instant) -> Connection {
    Connection::new(Config::default(), now)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
