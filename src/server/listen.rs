//! Listening sockets: one per address and worker, sharing the port through SO_REUSEPORT.
//!
//! They are bound once and live as long as the process: closing one resets the connections waiting in
//! its accept queue. Because SO_REUSEPORT lets any process of the same user join a port, a second
//! instance is detected by a probe that binds without it.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::diagnostic::{Diagnostic, codes};

/// Connections the kernel may queue per socket before it drops new ones; capped by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How long a connection may be silent before the kernel asks whether its peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A bound set of listening sockets, one of each address for every worker.
#[derive(Debug)]
pub struct Listeners {
    addresses: Vec<SocketAddr>,
    /// Outer: workers; inner: in the order of `addresses`.
    workers: Vec<Vec<TcpListener>>,
}

impl Listeners {
    /// Binds every address for every worker, or none. Port 0 is resolved once, all workers share it.
    ///
    /// # Errors
    /// The first address that cannot be had, with the reason.
    pub fn bind(addresses: &[SocketAddr], workers: usize) -> Result<Self, BindError> {
        let mut bound = Self { addresses: Vec::new(), workers: Vec::new() };
        bound.workers.resize_with(workers.max(1), Vec::new);
        for &address in addresses {
            let fail = |error: &io::Error| BindError { address, reason: BindReason::of(error) };
            let resolved = probe(address).map_err(|error| fail(&error))?;
            for sockets in &mut bound.workers {
                sockets.push(open(resolved, true).map_err(|error| fail(&error))?);
            }
            bound.addresses.push(resolved);
        }
        Ok(bound)
    }

    /// The addresses bound, in the order asked for, with real port numbers.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// How many workers the sockets were bound for.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    pub(super) fn into_workers(self) -> Vec<Vec<TcpListener>> {
        self.workers
    }
}

/// Why an address cannot be listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindError {
    pub address: SocketAddr,
    pub reason: BindReason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindReason {
    /// Another socket listens there, perhaps of another instance.
    InUse,
    /// A port below 1024 without the right to it.
    Permission,
    /// No interface of this machine has the address.
    NotAvailable,
    /// What the system said.
    Other(String),
}

impl BindReason {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse,
            io::ErrorKind::PermissionDenied => Self::Permission,
            io::ErrorKind::AddrNotAvailable => Self::NotAvailable,
            _ => Self::Other(error.to_string()),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::InUse => "the port is in use",
            Self::Permission => "permission denied",
            Self::NotAvailable => "this machine has no such address",
            Self::Other(text) => text,
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.reason.as_str())
    }
}

impl std::error::Error for BindError {}

impl BindError {
    /// The error as its reader wants it: with what to do now.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let port = self.address.port();
        let (code, help) = match &self.reason {
            BindReason::InUse => (
                codes::ADDRESS_IN_USE,
                format!(
                    "another process, perhaps another Gatewright, listens there: `ss -ltnp 'sport = :{port}'` \
                     names it; stop it or choose another port with `--listen` (port 0 takes a free one)"
                ),
            ),
            BindReason::Permission => (
                codes::ADDRESS_FORBIDDEN,
                format!(
                    "port {port} needs a right this user lacks: choose one above 1023, or give the program `CAP_NET_BIND_SERVICE`"
                ),
            ),
            BindReason::NotAvailable => (
                codes::ADDRESS_NOT_AVAILABLE,
                "listen on an address of this machine, or on `0.0.0.0` or `[::]` for all of them".to_owned(),
            ),
            BindReason::Other(_) => {
                (codes::ADDRESS_NOT_AVAILABLE, "choose another address with `--listen`".to_owned())
            }
        };
        Diagnostic::error(code, self.to_string()).help(help)
    }
}

/// Binds without SO_REUSEPORT, which fails when anyone listens there; tells the real port.
fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    open(address, false)?.local_addr()
}

fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` serves IPv6 alone, so that `0.0.0.0` can stand beside it.
        socket.set_only_v6(true)?;
    }
    // Lets a restart take over ports whose old connections are in TIME_WAIT; never a port someone listens on.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted sockets inherit it: a client that vanished during a long answer is noticed within minutes.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn port_0_is_resolved_once_and_shared_by_all_workers() {
        let listeners = Listeners::bind(&[loopback(0), loopback(0)], 3).unwrap();
        let addresses = listeners.addresses();
        assert!(addresses.iter().all(|address| address.port() != 0));
        assert_ne!(addresses[0], addresses[1]);
        for sockets in listeners.into_workers() {
            let ports: Vec<_> = sockets.iter().map(|s| s.local_addr().unwrap()).collect();
            assert_eq!(ports, addresses);
        }
    }

    #[test]
    fn a_port_that_another_instance_shares_out_counts_as_in_use() {
        let first = Listeners::bind(&[loopback(0)], 2).unwrap();
        let address = first.addresses()[0];
        let error = Listeners::bind(&[address], 1).unwrap_err();
        assert_eq!(error, BindError { address, reason: BindReason::InUse });
        assert_eq!(error.diagnostic().code, codes::ADDRESS_IN_USE);
    }

    #[test]
    fn a_port_that_a_plain_socket_holds_counts_as_in_use() {
        let plain = TcpListener::bind(loopback(0)).unwrap();
        let error = Listeners::bind(&[plain.local_addr().unwrap()], 1).unwrap_err();
        assert_eq!(error.reason, BindReason::InUse);
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let error = Listeners::bind(&["192.0.2.1:0".parse().unwrap()], 1).unwrap_err();
        assert_eq!(error.reason, BindReason::NotAvailable);
        assert!(error.to_string().contains("192.0.2.1"));
    }
}
