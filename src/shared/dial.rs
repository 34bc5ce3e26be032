//! Making a connection: TCP, TLS where asked for, and the greeting with user and password.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError,
    aio::MultiplexedConnection,
};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{address::Config, bounds::Bounded};

/// A dead peer is noticed after this and a few probes more, also on a connection that only listens.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// The longest that is told of what a server said, in characters.
const MAX_TOLD: usize = 200;

/// Makes the TLS policy when it is needed.
pub type MakeTls = fn() -> rustls::ClientConfig;

/// What moves the bytes of a connection: it must be polled, and ends when the connection does.
pub type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Connects. `heard` is called for every message on a channel. The caller sets the deadline.
///
/// # Errors
/// Why there is no connection, for people.
pub async fn dial(
    config: &Config,
    tls: MakeTls,
    heard: impl Fn() + Send + Sync + 'static,
) -> Result<(MultiplexedConnection, Driver), String> {
    let address = &config.address;
    let socket = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(|e| reason(&e))?;
    // Commands are small and waited for: they must not wait for more to send.
    socket.set_nodelay(true).map_err(|e| reason(&e))?;
    let keepalive = TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive).map_err(|e| reason(&e))?;
    if !address.tls {
        return greet(config, socket, heard).await;
    }
    let name = ServerName::try_from(address.host.clone()).map_err(|error| error.to_string())?;
    let mut policy = tls();
    // The server speaks no HTTP.
    policy.alpn_protocols.clear();
    let stream = TlsConnector::from(Arc::new(policy)).connect(name, socket).await.map_err(|e| reason(&e))?;
    greet(config, stream, heard).await
}

async fn greet<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    config: &Config,
    stream: S,
    heard: impl Fn() + Send + Sync + 'static,
) -> Result<(MultiplexedConnection, Driver), String> {
    let mut who = RedisConnectionInfo::default()
        .set_db(i64::from(config.address.database))
        // Messages on channels come between replies, which only this version of the protocol allows.
        .set_protocol(ProtocolVersion::RESP3)
        // One command, one reply: a server that refuses says why and closes at once.
        .set_skip_set_lib_name();
    if let Some(username) = &config.address.username {
        who = who.set_username(username);
    }
    if let Some(password) = &config.address.password {
        who = who.set_password(password);
    }
    let listen = move |push: PushInfo| {
        if matches!(push.kind, PushKind::Message) {
            heard();
        }
        Ok::<(), std::convert::Infallible>(())
    };
    // The deadlines are the caller's: one for dialling as a whole, one for each call.
    let options = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_push_sender(listen);
    let made = MultiplexedConnection::new_with_config(&who, Bounded::new(stream), options).await;
    let (connection, driver) = made.map_err(|error| refused(&error))?;
    Ok((connection, Box::pin(driver)))
}

/// An error of the system in plain words.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            "the connection was closed".to_owned()
        }
        _ => bounded(&error.to_string()),
    }
}

/// Why a greeting was not answered well.
fn refused(error: &RedisError) -> String {
    match error.code() {
        Some("WRONGPASS") => "user or password was not accepted".to_owned(),
        Some("NOAUTH") => "it asks for a password: give one with `password`".to_owned(),
        Some("ERR") if error.detail().is_some_and(|detail| detail.starts_with("unknown command")) => {
            "it is older than Redis 6, which does not suffice".to_owned()
        }
        _ => told(error),
    }
}

/// An error of the client or the server in plain words; bounded, for the server words it.
#[must_use]
pub fn told(error: &RedisError) -> String {
    if error.is_connection_dropped() {
        return "the connection was closed".to_owned();
    }
    match (error.code(), error.detail()) {
        (Some("ERR") | None, Some(detail)) => bounded(detail),
        (Some(code), Some(detail)) => bounded(&format!("{code} {detail}")),
        _ => bounded(&error.to_string()),
    }
}

/// What a server said, on one line of bounded length.
fn bounded(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TOLD).collect()
}
