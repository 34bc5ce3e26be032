//! The answer to a connection on which no request is read: one refusal written by hand, then the end.

use std::{io, time::Duration};

use http::{Response, header};
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use crate::exchange::Body;

/// A refused connection may take this long to read why; then it is cut.
const GOODBYE: Duration = Duration::from_secs(1);

/// Writes `answer` and waits for the client to have read it: closing at once would reset the connection, for
/// what it sent lies unread. A client that does not read is not waited for, and nothing is said of it.
pub(super) async fn say<I: AsyncRead + AsyncWrite + Unpin>(stream: I, answer: Response<Body>) {
    let _ = timeout(GOODBYE, write(stream, answer)).await;
}

async fn write<I: AsyncRead + AsyncWrite + Unpin>(mut stream: I, answer: Response<Body>) -> io::Result<()> {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let status = head.status;
    let mut text =
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for (name, value) in head.headers.iter().filter(|(name, _)| *name != header::CONTENT_LENGTH) {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&body);
    stream.write_all(&text).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
