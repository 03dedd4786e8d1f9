//! A proxy between worker and broker that knows enough of AMQP to cut a connection at a chosen point.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::{Notify, watch},
    task::JoinHandle,
};

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Half of a publish's body has reached the broker.
    MiddleOfPublish,
    /// The broker has confirmed a publish, and the worker has not heard of it.
    BeforeConfirm,
    /// The worker has half of a confirm's frame.
    MiddleOfConfirm,
    /// The worker has acknowledged a job, and the broker has not heard of it.
    BeforeAck,
    /// The broker has half of an ack's frame.
    MiddleOfAck,
    /// The broker has an ack, and nothing after it.
    AfterAck,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::MiddleOfPublish,
        Self::BeforeConfirm,
        Self::MiddleOfConfirm,
        Self::BeforeAck,
        Self::MiddleOfAck,
        Self::AfterAck,
    ];

    /// What is watched for, and from whom.
    fn trigger(self) -> (Side, Method) {
        match self {
            Self::MiddleOfPublish => (Side::Worker, PUBLISH),
            Self::BeforeConfirm | Self::MiddleOfConfirm => (Side::Broker, ACK),
            Self::BeforeAck | Self::MiddleOfAck | Self::AfterAck => (Side::Worker, ACK),
        }
    }
}

/// Class and number of a method.
type Method = (u16, u16);
const PUBLISH: Method = (60, 40);
const ACK: Method = (60, 80);

/// Who sent a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Worker,
    Broker,
}

/// The proxy, until it is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    /// Cut at this point, when it was reached so many times more.
    armed: Mutex<Option<(Point, u32)>>,
    cut: Notify,
    /// Changed to cut every connection there is.
    all: watch::Sender<u32>,
}

impl Proxy {
    /// Between whoever connects to it and the broker on `port` of the loopback address.
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let own = listener.local_addr().expect("a bound address").port();
        let shared = Arc::new(Shared {
            armed: Mutex::default(),
            cut: Notify::new(),
            all: watch::Sender::new(0),
        });
        let task = tokio::spawn(accept(listener, port, Arc::clone(&shared)));
        Self {
            port: own,
            shared,
            task,
        }
    }

    /// The address of the broker behind it, by way of it.
    pub fn url(&self, broker: &str, port: u16) -> String {
        broker.replace(&format!(":{port}/"), &format!(":{}/", self.port))
    }

    /// Cuts whichever connection reaches this point for the `nth` time from now; returns when that has happened.
    pub async fn cut_at(&self, point: Point, nth: u32) {
        *self.shared.armed.lock().expect("a lock") = Some((point, nth));
        let cut = tokio::time::timeout(Duration::from_secs(60), self.shared.cut.notified()).await;
        assert!(cut.is_ok(), "no connection came to {point:?} {nth} times");
    }

    /// Cuts every connection, wherever it is.
    pub fn cut_all(&self) {
        self.shared.all.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut_all();
    }
}

async fn accept(listener: TcpListener, port: u16, shared: Arc<Shared>) {
    loop {
        let Ok((worker, _)) = listener.accept().await else {
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut all = shared.all.subscribe();
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let Ok(broker) = TcpStream::connect(address).await else {
                return;
            };
            let ((from_worker, to_worker), (from_broker, to_broker)) =
                (worker.into_split(), broker.into_split());
            // Whichever ends first ends both: the sockets go with them.
            tokio::select! {
                _ = pump(from_worker, to_broker, Side::Worker, &shared) => {}
                _ = pump(from_broker, to_worker, Side::Broker, &shared) => {}
                _ = all.changed() => {}
            }
        });
    }
}

/// What is to be done with a frame.
enum Verdict {
    Pass,
    /// Pass this much of it, and cut.
    Cut(usize),
}

/// Passes frames on, one by one, until one is the last.
async fn pump(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    side: Side,
    shared: &Shared,
) -> std::io::Result<()> {
    if side == Side::Worker {
        let mut greeting = [0; 8];
        from.read_exact(&mut greeting).await?;
        to.write_all(&greeting).await?;
    }
    // The channel whose publish is to end in the middle of its body.
    let mut doomed = None;
    loop {
        let frame = read_frame(&mut from).await?;
        match shared.judge(side, &frame, &mut doomed) {
            Verdict::Pass => to.write_all(&frame).await?,
            Verdict::Cut(bytes) => {
                to.write_all(&frame[..bytes]).await?;
                to.flush().await?;
                shared.cut.notify_one();
                return Ok(());
            }
        }
    }
}

/// Type, channel, size, what it holds, and an end mark.
async fn read_frame(from: &mut tcp::OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; 7];
    from.read_exact(&mut frame).await?;
    let size = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]) as usize;
    frame.resize(7 + size + 1, 0);
    from.read_exact(&mut frame[7..]).await?;
    Ok(frame)
}

const METHOD: u8 = 1;
const BODY: u8 = 3;

impl Shared {
    fn judge(&self, side: Side, frame: &[u8], doomed: &mut Option<[u8; 2]>) -> Verdict {
        let channel = [frame[1], frame[2]];
        if frame[0] == BODY && *doomed == Some(channel) {
            return Verdict::Cut(frame.len() / 2);
        }
        if frame[0] != METHOD {
            return Verdict::Pass;
        }
        let method = (
            u16::from_be_bytes([frame[7], frame[8]]),
            u16::from_be_bytes([frame[9], frame[10]]),
        );
        match self.reached(side, method) {
            None => Verdict::Pass,
            Some(Point::MiddleOfPublish) => {
                *doomed = Some(channel);
                Verdict::Pass
            }
            Some(Point::BeforeConfirm | Point::BeforeAck) => Verdict::Cut(0),
            Some(Point::MiddleOfConfirm | Point::MiddleOfAck) => Verdict::Cut(frame.len() / 2),
            Some(Point::AfterAck) => Verdict::Cut(frame.len()),
        }
    }

    /// The point at which to cut, if this is it.
    fn reached(&self, side: Side, method: Method) -> Option<Point> {
        let mut armed = self.armed.lock().expect("a lock");
        let (point, left) = armed
            .as_mut()
            .filter(|(point, _)| point.trigger() == (side, method))?;
        *left -= 1;
        if *left > 0 {
            return None;
        }
        let point = *point;
        *armed = None;
        Some(point)
    }
}
