use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

use super::*;
use crate::{policy::quota::Permission, tls::TlsFiles};

/// A provider that answers when it is told to.
struct Provider {
    connections: AtomicUsize,
    /// A permit for each request that came.
    asked: Semaphore,
    /// A permit for each answer.
    answers: Semaphore,
}

impl Provider {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            self.connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(Arc::clone(&self).answer(stream));
        }
    }

    async fn answer(self: Arc<Self>, mut stream: TcpStream) {
        let mut request = Vec::new();
        while stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {
            if request.ends_with(b"\r\n\r\n") {
                request.clear();
                self.asked.add_permits(1);
                self.answers.acquire().await.unwrap().forget();
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
        }
    }
}

const REQUESTS: usize = 3 * AT_ONCE;

/// How many connections these requests take, made at once and all answered once so many have come.
async fn connections(pool: fn(Connector) -> Arc<Pool>, lane: Lane, answered_at: usize) -> usize {
    let provider =
        Arc::new(Provider { connections: AtomicUsize::new(0), asked: Semaphore::new(0), answers: Semaphore::new(0) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(Arc::clone(&provider).serve(listener));

    let pool = pool(Connector::new(&TlsFiles::default(), None).unwrap());
    let mut asking = JoinSet::new();
    for _ in 0..REQUESTS {
        let (pool, address) = (Arc::clone(&pool), address.clone());
        asking.spawn(async move {
            let request = Request::get(address).body(Fence::around(Bytes::new(), Permission::UNLIMITED)).unwrap();
            let (answer, lease) = pool.send(request, lane).await.ok().unwrap();
            assert_eq!(answer.status(), 204);
            pool.give_back(lease);
        });
    }
    provider.asked.acquire_many(answered_at.try_into().unwrap()).await.unwrap().forget();
    provider.answers.add_permits(REQUESTS);
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    server.abort();
    provider.connections.load(Ordering::Relaxed)
}

#[tokio::test]
async fn beyond_the_first_few_a_request_of_bulk_takes_a_connection_that_is_given_back() {
    let pool = |connector| Pool::new(connector, REQUESTS, Duration::from_hours(1));
    assert_eq!(connections(pool, Lane::Bulk, AT_ONCE).await, AT_ONCE);
}

#[tokio::test]
async fn where_none_is_given_back_in_time_each_request_has_a_connection_of_its_own() {
    let pool = |connector| Pool::new(connector, REQUESTS, Duration::from_millis(1));
    assert_eq!(connections(pool, Lane::Bulk, REQUESTS).await, REQUESTS);
}

#[tokio::test]
async fn where_there_was_a_need_of_more_for_long_no_request_waits() {
    let pool = |connector| {
        let pool = Pool::new(connector, REQUESTS, Duration::from_hours(1));
        pool.idle().short_since = Instant::now().checked_sub(Duration::from_hours(2));
        pool
    };
    assert_eq!(connections(pool, Lane::Bulk, REQUESTS).await, REQUESTS);
}

#[tokio::test]
async fn a_call_never_waits_for_a_connection() {
    let pool = |connector| Pool::new(connector, REQUESTS, Duration::from_hours(1));
    assert_eq!(connections(pool, Lane::Interactive, REQUESTS).await, REQUESTS);
}
