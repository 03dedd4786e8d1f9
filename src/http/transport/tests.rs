use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use super::*;

/// Takes connections into its queue and no more: those beyond get no answer at all.
async fn silent(port: u16) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], port).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let (address, moment) = (listener.local_addr().unwrap(), Duration::from_millis(300));
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) = timeout(moment, TcpStream::connect(address)).await {
        queued.push(stream);
    }
    (listener, queued)
}

#[tokio::test]
async fn of_a_name_with_two_addresses_the_second_is_reached_where_the_first_is_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let well = listener.local_addr().unwrap();
    let (dark, _queued) = silent(well.port()).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await;
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    });
    let transport = Transport::new(Options::default()).unwrap();
    let client = transport
        .builder(HttpVersion::One, false, 1)
        .unwrap()
        .resolve_to_addrs("two.example", &[dark.local_addr().unwrap(), well])
        .build()
        .unwrap();
    let answer = client.get(format!("http://two.example:{}/", well.port()));
    assert_eq!(answer.send().await.unwrap().status(), 204);
}
