//! A proxy that opens tunnels, to one server whatever is asked for, and shows what it was asked.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

pub struct Proxy {
    pub address: SocketAddr,
    /// The heads of the requests.
    pub asked: mpsc::UnboundedReceiver<String>,
}

impl Proxy {
    /// Tunnels lead to `to`; an `answer` other than 200 is given instead of one.
    pub async fn start(to: SocketAddr, answer: &'static str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test receives as much as it sends")]
        let (sender, asked) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(client.read_u8().await?);
                    }
                    let _ = sender.send(String::from_utf8(head).unwrap());
                    client.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await?;
                    if answer.starts_with("200") {
                        copy_bidirectional(&mut client, &mut TcpStream::connect(to).await?).await?;
                    }
                    Ok::<_, std::io::Error>(())
                });
            }
        });
        Self { address, asked }
    }
}
