//! One HTTP/1.1 exchange on a connection of its own: for commands that ask a running switch, and for the tour.
//!
//! **Never here:** what is asked.

use std::net::SocketAddr;

use anyhow::Context;
use axum::http::{Method, Request, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;

/// What to ask.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: &'a str,
    /// Beside `Host` and the content type, which is JSON.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: String,
    /// Longest answer that is taken.
    pub(crate) bytes_max: usize,
}

/// Status and body of the answer.
pub(crate) async fn exchange(address: SocketAddr, ask: Ask<'_>) -> anyhow::Result<(u16, Bytes)> {
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .with_context(|| format!("{address}: is the switch running, and its port this one?"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(ask.method)
        .uri(ask.path)
        .header(header::HOST, address.to_string())
        .header(header::CONTENT_TYPE, "application/json");
    for (name, value) in ask.headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Full::new(Bytes::from(ask.body)))?).await?;
    let code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ask.bytes_max).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("{address}: {error}"))?.to_bytes();
    drop(sender);
    connection.abort();
    Ok((code, body))
}
