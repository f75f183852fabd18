//! Connections: handles of the link, and its two threads.

use std::{
    fmt,
    io::{self, Read, Write},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use amqp_core::{
    Cause, ChannelError, Config, ConnectionError, Error, Tuning, error::Stage, method::ReplyCode, wire::Table,
};
use bytes::BytesMut;

use crate::{
    Channel,
    link::{Link, later},
    notice::Notice,
    transport,
};

/// What the reader thread asks the transport for at a time: 32 to 64 KiB is where more brings nothing.
const READ_SIZE: usize = 64 * 1024;

/// A connection to a broker.
///
/// It may be cloned and used by many threads. [`close`](Self::close) ends it in good order: everything queued is
/// written first. **Call it before the program ends.** Dropping the last handle, channels included, closes the
/// connection without waiting: if the process ends right then, queued messages and acknowledgements are lost, and nothing
/// reports it.
#[derive(Clone)]
pub struct Connection {
    owner: Arc<Owner>,
}

/// Closes the connection when the last handle is gone.
pub(crate) struct Owner {
    pub(crate) link: Arc<Link>,
}

impl Connection {
    /// Connects to the broker at this address, such as `amqp://user:password@host:5672/vhost?heartbeat=10`.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`], which tells the ways apart in which this can fail.
    pub fn connect(uri: &str) -> Result<Self, Error> {
        let uri: amqp_core::Uri = uri.parse().map_err(ConnectionError::Uri)?;
        Self::connect_with(&uri, uri.config())
    }

    /// Connects to the address in `uri` with a configuration of one's own; [`Uri::config`](amqp_core::Uri::config) is
    /// the place to start from.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_with(uri: &amqp_core::Uri, config: Config) -> Result<Self, Error> {
        let stream = transport::connect(uri, &config)?;
        let reader = transport::cloned(&stream, uri)?;
        let writer = transport::cloned(&stream, uri)?;
        Self::over(reader, writer, move || transport::hang_up(&stream), config)
    }

    /// Opens a connection over any transport, given as its two halves and a function that ends both: a thread that is
    /// stuck in a read or write must come back when it is called.
    ///
    /// A write may give up with [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::TimedOut`] and is tried again. It
    /// should, after half a second or so: a call may be writing its request itself, and has a deadline.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn over<R, W, H>(reader: R, writer: W, hang_up: H, config: Config) -> Result<Self, Error>
    where
        R: Read + Send + 'static,
        W: Write + Send + 'static,
        H: Fn() + Send + Sync + 'static,
    {
        let origin = Instant::now();
        let patience = config.handshake_timeout;
        let core = amqp_core::Connection::new(config, amqp_core::Instant::ORIGIN);
        let link = Arc::new(Link::new(core, Box::new(writer), Box::new(hang_up), origin));
        let owner = Arc::new(Owner { link: Arc::clone(&link) });
        spawn("amqp-writer", &link, Link::run_writer)?;
        spawn("amqp-reader", &link, move |link| read(link, reader))?;
        // The core ends the handshake in time; the second is for a writer thread that is stuck.
        let opened =
            link.wait_for(later(patience.saturating_add(Duration::from_secs(1))), |state| match state.core.fault() {
                Some(fault) => Some(Err(fault.clone())),
                None => state.core.is_open().then_some(Ok(())),
            });
        match opened {
            Some(Ok(())) => Ok(Self { owner }),
            Some(Err(error)) => Err(error.into()),
            None => {
                link.hang_up();
                Err(ConnectionError::HandshakeTimeout { stage: Stage::Greeting, after: patience }.into())
            }
        }
    }

    /// Opens a channel.
    ///
    /// # Errors
    ///
    /// The fault of the connection; [`Misuse::NoFreeChannel`](amqp_core::Misuse::NoFreeChannel) if all are in use.
    pub fn open_channel(&self) -> Result<Channel, Error> {
        let mut opened = None;
        let answer = self.owner.link.call(|state| {
            let (id, pending) = state.core.open_channel()?;
            state.add_channel(id);
            opened = Some(Channel::new(Arc::clone(&self.owner), id));
            Ok(pending)
        });
        // Without its handle the channel would be lost; with it, a failed opening closes it.
        answer.and(opened.ok_or(Error::Channel(ChannelError::Closed)))
    }

    /// Opens a channel for `work`, and closes it with a round trip, so that no error of what was done on it can be
    /// missed.
    ///
    /// # Errors
    ///
    /// The first of: what `work` returns; a mandatory message that came back, as [`ChannelError::Returned`]; the fault
    /// of the channel or connection, also if it had arrived before. What is not returned becomes a [`Notice`].
    pub fn with_channel<T>(&self, work: impl FnOnce(&Channel) -> Result<T, Error>) -> Result<T, Error> {
        let channel = self.open_channel()?;
        let result = work(&channel);
        let closed = channel.close();
        let returned = channel.take_returned().into_iter().map(|returned| ChannelError::Returned(Box::new(returned)));
        let mut errors = returned.map(Error::Channel).chain(closed.err());
        match result {
            Ok(done) => errors.next().map_or(Ok(done), Err),
            Err(error) => Err(error),
        }
        .inspect_err(|told| self.notice_all(&channel, errors.filter(|error| error != told)))
    }

    /// Closes the connection and waits until the broker agrees, at most
    /// [`Config::close_timeout`](Config::close_timeout). Everything that was queued is written first; whoever waits for
    /// an answer gets [`ConnectionError::Closed`]. Closing it twice is harmless.
    ///
    /// # Errors
    ///
    /// Why the connection had ended before, or that the broker did not answer.
    pub fn close(&self) -> Result<(), Error> {
        let link = &self.owner.link;
        let patience = link.with(|state| {
            state.core.handle_timeout(link.now());
            state.core.close(ReplyCode::REPLY_SUCCESS, "");
            state.core.config().close_timeout
        });
        let ended = link.wait_for(later(patience), |state| state.core.fault().cloned());
        match ended {
            Some(ConnectionError::Closed) => Ok(()),
            Some(error) => Err(error.into()),
            None => {
                link.hang_up();
                Err(ConnectionError::CloseTimeout { after: patience }.into())
            }
        }
    }

    /// The next thing that happened and that no call has reported, if there is one.
    pub fn try_notice(&self) -> Option<Notice> {
        self.owner.link.lock().notices.pop()
    }

    /// Reports why the connection has ended, if it has.
    ///
    /// # Errors
    ///
    /// The fault of the connection.
    pub fn check(&self) -> Result<(), Error> {
        self.owner.link.lock().core.fault().map_or(Ok(()), |fault| Err(fault.clone().into()))
    }

    /// What was agreed with the broker.
    pub fn tuning(&self) -> Tuning {
        *self.owner.link.lock().core.tuning()
    }

    /// What the broker says about itself: product, version, capabilities.
    pub fn server_properties(&self) -> Table {
        self.owner.link.lock().core.server_properties().clone()
    }

    /// Whether the broker has blocked the connection for lack of memory or disk space: publishes and calls wait then.
    pub fn is_blocked(&self) -> bool {
        self.owner.link.lock().core.is_blocked()
    }

    fn notice_all(&self, channel: &Channel, errors: impl Iterator<Item = Error>) {
        let channel = channel.number();
        self.owner.link.lock().notices.extend(errors.map(|error| Notice::Unreported { channel, error }));
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("fault", &self.owner.link.lock().core.fault()).finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.link.with(|state| state.core.close(ReplyCode::REPLY_SUCCESS, ""));
    }
}

fn spawn(name: &str, link: &Arc<Link>, run: impl FnOnce(&Link) + Send + 'static) -> Result<(), Error> {
    let link = Arc::clone(link);
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || run(&link));
    spawned.map(drop).map_err(|error| {
        let cause = Cause::new(format!("cannot start a thread: {error}"));
        ConnectionError::Disconnected { stage: Stage::Greeting, cause }.into()
    })
}

/// The reader thread: feeds the core until the transport or the connection ends.
fn read(link: &Link, mut reader: impl Read) {
    let mut input = BytesMut::new();
    let mut buffer = vec![0; READ_SIZE];
    loop {
        link.wait_until_drained();
        let result = reader.read(&mut buffer);
        let cause = match &result {
            Ok(0) => Cause::end_of_stream(),
            Ok(count) => {
                input.extend_from_slice(buffer.get(..*count).unwrap_or_default());
                let closed = link.with(|state| {
                    state.core.receive(&mut input, link.now());
                    state.core.is_closed()
                });
                if closed {
                    return;
                }
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Cause::from(error),
        };
        return link.with(|state| state.core.disconnected(cause, link.now()));
    }
}
