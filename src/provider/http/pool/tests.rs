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
    address: String,
    connections: AtomicUsize,
    /// A permit for each request that came.
    asked: Semaphore,
    /// A permit for each answer.
    answers: Semaphore,
}

impl Provider {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let (asked, answers) = (Semaphore::new(0), Semaphore::new(0));
        let provider = Arc::new(Self {
            address,
            connections: AtomicUsize::new(0),
            asked,
            answers,
        });
        tokio::spawn(Arc::clone(&provider).serve(listener));
        provider
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            self.connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(Arc::clone(&self).answer(stream));
        }
    }

    async fn answer(self: Arc<Self>, mut stream: TcpStream) {
        let mut request = Vec::new();
        while stream
            .read_buf(&mut request)
            .await
            .is_ok_and(|read| read > 0)
        {
            if request.ends_with(b"\r\n\r\n") {
                request.clear();
                self.asked.add_permits(1);
                self.answers.acquire().await.unwrap().forget();
                stream
                    .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                    .await
                    .unwrap();
            }
        }
    }
}

const REQUESTS: usize = 3 * AT_ONCE;
const SOON: Duration = Duration::from_secs(20);

fn pool(patience: Duration) -> Arc<Pool> {
    Pool::new(
        Connector::new(&TlsFiles::default(), None).unwrap(),
        REQUESTS,
        patience,
    )
}

/// How many connections so many requests open, made at once and all answered once some have come.
async fn opened(
    pool: &Arc<Pool>,
    provider: &Provider,
    lane: Lane,
    requests: usize,
    answered_at: usize,
) -> usize {
    let before = provider.connections.load(Ordering::Relaxed);
    let mut asking = JoinSet::new();
    for _ in 0..requests {
        let (pool, address) = (Arc::clone(pool), provider.address.clone());
        asking.spawn(async move {
            let request = Request::get(address)
                .body(Fence::around(Bytes::new(), Permission::UNLIMITED))
                .unwrap();
            let (answer, lease) = pool.send(Box::new(request), lane).await.ok().unwrap();
            assert_eq!(answer.status(), 204);
            pool.give_back(lease);
        });
    }
    let asked = provider.asked.acquire_many(answered_at.try_into().unwrap());
    timeout(SOON, asked)
        .await
        .expect("they come")
        .unwrap()
        .forget();
    provider.answers.add_permits(requests);
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    provider.asked.forget_permits(requests);
    provider.connections.load(Ordering::Relaxed) - before
}

fn long_ago() -> Instant {
    Instant::now().checked_sub(Duration::from_hours(2)).unwrap()
}

#[tokio::test]
async fn beyond_the_first_few_a_request_of_bulk_takes_a_connection_that_is_given_back() {
    let (pool, provider) = (pool(Duration::from_hours(1)), Provider::start().await);
    assert_eq!(
        opened(&pool, &provider, Lane::Bulk, REQUESTS, AT_ONCE).await,
        AT_ONCE
    );
}

#[tokio::test]
async fn where_none_is_given_back_in_time_each_request_has_a_connection_of_its_own() {
    let (pool, provider) = (pool(Duration::from_millis(1)), Provider::start().await);
    assert_eq!(
        opened(&pool, &provider, Lane::Bulk, REQUESTS, REQUESTS).await,
        REQUESTS
    );
}

#[tokio::test]
async fn where_there_was_a_need_of_more_for_long_no_request_waits() {
    let (pool, provider) = (pool(Duration::from_hours(1)), Provider::start().await);
    pool.idle().short_since = Some(long_ago());
    assert_eq!(
        opened(&pool, &provider, Lane::Bulk, REQUESTS, REQUESTS).await,
        REQUESTS
    );
}

#[tokio::test]
async fn a_call_never_waits_for_a_connection() {
    let (pool, provider) = (pool(Duration::from_hours(1)), Provider::start().await);
    assert_eq!(
        opened(&pool, &provider, Lane::Interactive, REQUESTS, REQUESTS).await,
        REQUESTS
    );
}

#[tokio::test]
async fn nobody_waits_for_connections_that_grew_old() {
    let (pool, provider) = (pool(Duration::from_hours(1)), Provider::start().await);
    assert_eq!(
        opened(&pool, &provider, Lane::Interactive, REQUESTS, REQUESTS).await,
        REQUESTS
    );
    pool.idle()
        .leases
        .iter_mut()
        .for_each(|lease| lease.since = long_ago());
    assert_eq!(
        opened(&pool, &provider, Lane::Bulk, AT_ONCE, AT_ONCE).await,
        AT_ONCE
    );
}
