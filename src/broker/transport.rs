//! The way between the client library and the broker's socket: what comes in passes through [`Frames`].
//!
//! The library takes a stream of its runtime's own type, plain or with TLS inside. So there is a runtime here that is
//! tokio's but for that type, and the stream is made before the library gets it.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_rs::{Runtime, Tokio, traits::Reactor, util::RuntimeParts};
use futures_util::{AsyncRead, AsyncWrite, Stream};
use lapin::{
    Connection, ConnectionProperties,
    tcp::{AMQPUriTcpExt, AsyncTcpStream, OwnedTLSConfig},
    uri::AMQPUri,
};

use super::legible::Frames;

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// The socket, with TLS where there is any.
type Socket = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// Opens a connection whose texts are legible.
pub(super) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    tls: OwnedTLSConfig,
) -> lapin::Result<Connection> {
    let runtime = Runtime::new(RuntimeParts::new(
        Tokio::current(),
        Legible(Tokio::current()),
    ));
    let open = async move |uri: AMQPUri, runtime: Runtime<RuntimeParts<Tokio, Legible>>| {
        let _ = runtime;
        let tokio = Runtime::new(Tokio::current());
        let socket = uri.connect_with_config_async(tls.as_ref(), &tokio).await?;
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
        let connecting = self.0.tcp_connect_addr(address);
        async { Ok(LegibleStream::new(AsyncTcpStream::Plain(connecting.await?))) }
    }
}

/// A socket, of which what is read has passed through [`Frames`].
struct LegibleStream {
    socket: Socket,
    frames: Frames,
    piece: Box<[u8]>,
    /// What may be read, from `read` on.
    legible: Vec<u8>,
    read: usize,
}

impl LegibleStream {
    fn new(socket: Socket) -> Self {
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
            let came = ready!(Pin::new(&mut this.socket).poll_read(context, &mut this.piece))?;
            if came == 0 {
                return Poll::Ready(Ok(0));
            }
            this.frames.take(&this.piece[..came], &mut this.legible);
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
        Pin::new(&mut self.get_mut().socket).poll_close(context)
    }
}
