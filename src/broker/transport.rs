//! The way between the client library and the broker's socket: what comes in passes through [`Frames`].
//!
//! The library takes a stream of its runtime's own type. So there is a runtime here that is tokio's but for that type,
//! and the stream is made, encrypted or not, before the library gets it.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_rs::{Runtime, Tokio, traits::Reactor, util::RuntimeParts};
use futures_util::{AsyncRead, AsyncWrite, Stream};
use lapin::{
    Connection, ConnectionProperties,
    tcp::AsyncTcpStream,
    uri::{AMQPScheme, AMQPUri},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead as TokioRead, AsyncWrite as TokioWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{CONNECT_LIMIT, legible::Frames};
use crate::tls::TlsMaterial;

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// Bytes to the broker and from it, encrypted where its address says so.
pub(super) trait Socket: TokioRead + TokioWrite + Send + Sync + Unpin {}

impl<S: TokioRead + TokioWrite + Send + Sync + Unpin> Socket for S {}

/// How connections to the broker are encrypted; none where its address is no `amqps://`.
pub(super) type Encryption = Option<TlsConnector>;

/// Of the connections to this address.
///
/// # Errors
/// Why the files' contents cannot be used.
pub(super) fn encryption(uri: &AMQPUri, tls: &TlsMaterial) -> io::Result<Encryption> {
    if uri.scheme == AMQPScheme::AMQP {
        return Ok(None);
    }
    let config = tls.trusted().and_then(|trusted| tls.client(trusted));
    Ok(Some(Arc::new(config.map_err(io::Error::other)?).into()))
}

/// Connects to the first of the host's addresses that answers.
///
/// # Errors
/// Where none does in time, or the handshake fails.
pub(super) async fn open(uri: &AMQPUri, encryption: &Encryption) -> io::Result<Box<dyn Socket>> {
    // Who asked gave up before. The library's thread would wait for ever for one that accepts and says nothing.
    timeout(2 * CONNECT_LIMIT, open_whenever(uri, encryption)).await?
}

async fn open_whenever(uri: &AMQPUri, encryption: &Encryption) -> io::Result<Box<dyn Socket>> {
    // An address of IP version 6 stands in brackets.
    let host = uri.authority.host.trim_matches(['[', ']']);
    let socket = TcpStream::connect((host, uri.authority.port)).await?;
    socket.set_nodelay(true)?;
    let Some(tls) = encryption else {
        return Ok(Box::new(socket));
    };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(tls.connect(name, socket).await?))
}

/// Opens a connection whose texts are legible.
pub(super) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    encryption: Encryption,
) -> lapin::Result<Connection> {
    let runtime = Runtime::new(RuntimeParts::new(
        Tokio::current(),
        Legible(Tokio::current()),
    ));
    let open = async move |uri: AMQPUri, runtime: Runtime<RuntimeParts<Tokio, Legible>>| {
        let _ = runtime;
        let socket = open(&uri, &encryption).await?;
        Ok(AsyncTcpStream::Plain(LegibleStream::new(socket)))
    };
    Connection::connector(uri, runtime, open, properties).await
}

/// Tokio's reactor, with a stream that is legible.
#[derive(Debug, Clone)]
struct Legible(Tokio);

impl Reactor for Legible {
    type TcpStream = LegibleStream;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// For handles that are no TCP sockets: the client library has none.
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<LegibleStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = TcpStream::connect(address);
        async { Ok(LegibleStream::new(Box::new(connecting.await?))) }
    }
}

/// A socket, of which what is read has passed through [`Frames`].
struct LegibleStream {
    socket: Box<dyn Socket>,
    frames: Frames,
    piece: Box<[u8]>,
    /// What may be read, from `read` on.
    legible: Vec<u8>,
    read: usize,
}

impl LegibleStream {
    fn new(socket: Box<dyn Socket>) -> Self {
        Self {
            socket,
            frames: Frames::default(),
            piece: vec![0; PIECE].into(),
            legible: Vec::new(),
            read: 0,
        }
    }
}

impl AsyncRead for LegibleStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        while this.read == this.legible.len() {
            this.legible.clear();
            this.read = 0;
            let mut came = ReadBuf::new(&mut this.piece);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut came))?;
            if came.filled().is_empty() {
                return Poll::Ready(Ok(0));
            }
            this.frames.take(came.filled(), &mut this.legible);
        }
        let left = &this.legible[this.read..];
        let given = left.len().min(buffer.len());
        buffer[..given].copy_from_slice(&left[..given]);
        this.read += given;
        Poll::Ready(Ok(given))
    }
}

impl AsyncWrite for LegibleStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(context, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::{super::connection::uri_of, *};

    #[tokio::test]
    async fn a_host_of_ip_version_6_is_connected_to() {
        // Not every machine has one.
        let Ok(listener) = TcpListener::bind("[::1]:0").await else {
            return;
        };
        let port = listener.local_addr().expect("bound").port();
        let uri = uri_of(&format!("amqp://[::1]:{port}").into()).expect("an address");
        assert!(open(&uri, &None).await.is_ok());
    }
}
