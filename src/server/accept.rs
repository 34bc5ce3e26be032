//! The accept loop: takes connections, keeps the limit, outlasts a shortage of file descriptors.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

use super::{
    connection::{self, Context},
    drain::Phase,
    goodbye,
    service::{ConnInfo, Service},
    state::State,
};
use crate::problem::{self, Problem};

/// Refused connections that may be told so at once, per accept loop; the others are dropped without a word.
const GOODBYES: usize = 64;

/// Accepts on `listener` until the drain reaches `until`, then takes what already waits in its queue and
/// closes it.
pub(super) async fn accept<S: Service>(listener: TcpListener, context: Arc<Context<S>>, until: Phase) {
    let drain = context.drain.clone();
    let stop = drain.reached(until);
    tokio::pin!(stop);
    let goodbyes = Arc::new(tokio::sync::Semaphore::new(GOODBYES));
    let mut trouble = Trouble::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                trouble.over();
                take(stream, peer, &context, &goodbyes);
            }
            Err(error) => {
                context.stats.count_accept_error();
                if let Some(pause) = trouble.pause(&error) {
                    sleep(pause).await;
                }
            }
        }
    }
    // Connections the kernel has completed would be reset by closing the socket.
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, peer)) = listener.accept() {
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                take(stream, peer, &context, &goodbyes);
            }
        }
    }
}

/// Hands one connection to a task of its own, or refuses it at the limit.
fn take<S: Service>(
    stream: TcpStream,
    peer: SocketAddr,
    context: &Arc<Context<S>>,
    goodbyes: &Arc<tokio::sync::Semaphore>,
) {
    let open = context.stats.enter(context.config.limits.connections, &context.alive);
    let Ok(local) = stream.local_addr() else { return };
    // Small answers must not wait for the client's acknowledgement; failure costs only latency.
    let _ = stream.set_nodelay(true);
    let info = ConnInfo { peer, local, worker: context.worker, state: State::default() };
    match open {
        Ok(open) => {
            tokio::spawn(connection::serve(stream, info, open, context.clone()));
        }
        Err(_) => {
            if let Ok(permit) = goodbyes.clone().try_acquire_owned() {
                let detail = "the gateway has as many connections as it may have";
                let problem = Problem::new(&problem::OVERLOADED, detail).retry_after(1);
                let answer = context.service.refuse(problem, &info);
                tokio::spawn(async move {
                    let _permit = permit;
                    goodbye::say(stream, answer).await;
                });
            }
        }
    }
}

/// Failures of accept(2) in a row: how long to wait, and when to say so.
#[derive(Default)]
struct Trouble {
    in_a_row: u32,
    told: Option<Instant>,
}

impl Trouble {
    const TELL_EVERY: Duration = Duration::from_secs(10);

    fn over(&mut self) {
        self.in_a_row = 0;
    }

    /// A connection that died in the queue costs no pause; a shortage grows one from 5 ms to 1 s.
    fn pause(&mut self, error: &io::Error) -> Option<Duration> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            return None;
        }
        if self.told.is_none_or(|at| at.elapsed() >= Self::TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(%error, "cannot accept connections; trying again");
        }
        let pause = Duration::from_millis(5 << self.in_a_row.min(8)).min(Duration::from_secs(1));
        self.in_a_row += 1;
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_descriptors_pauses_longer_each_time_and_an_aborted_connection_not_at_all() {
        let mut trouble = Trouble::default();
        let shortage = io::Error::from_raw_os_error(libc::EMFILE);
        let first = trouble.pause(&shortage).unwrap();
        let second = trouble.pause(&shortage).unwrap();
        assert!(second > first);
        for _ in 0..40 {
            assert!(trouble.pause(&shortage).unwrap() <= Duration::from_secs(1));
        }
        assert_eq!(trouble.pause(&io::Error::from_raw_os_error(libc::ECONNABORTED)), None);
        trouble.over();
        assert_eq!(trouble.pause(&shortage), Some(first));
    }
}
