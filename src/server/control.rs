//! The control plane's runtime, the admin listener on it, and the signals.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    runtime::{Handle, Runtime},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{
    accept::accept,
    config::ServerConfig,
    connection::Context,
    drain::{Drain, Phase},
    listen::Listeners,
    service::RouterService,
    stats::Stats,
};

/// How long the control plane's own tasks may take to end.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// A small multi-thread runtime for everything that is not a request.
#[derive(Debug)]
pub struct Control(Runtime);

impl Control {
    /// Two threads: one slow task must not stop the others.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new() -> io::Result<Self> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("gw-control")
            .enable_all()
            .build()
            .map(Self)
    }

    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.0.handle()
    }

    /// Runs `future` on the calling thread, with this runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    /// Serves `router` until the drain is done, so that readiness can be asked all the way down.
    /// `config` bounds the connections of these listeners alone.
    ///
    /// # Errors
    /// When a socket cannot be used.
    pub fn serve_admin(
        &self,
        listeners: Listeners,
        config: ServerConfig,
        router: axum::Router,
        drain: &Drain,
    ) -> io::Result<()> {
        let _inside = self.0.enter();
        // Nobody waits for these connections: the process ends with the data plane.
        let (alive, _) = mpsc::channel(1);
        let service = Arc::new(RouterService(router));
        let stats = Arc::new(Stats::default());
        let context =
            Arc::new(Context::new(0, Arc::new(config.sane()), stats, drain.clone(), service, alive));
        for socket in listeners.into_workers().into_iter().flatten() {
            let listener = TcpListener::from_std(socket)?;
            self.0.spawn(accept(listener, context.clone(), Phase::Done));
        }
        Ok(())
    }

    /// Ends the control plane; tasks that do not end by themselves are dropped.
    pub fn shutdown(self) {
        self.0.shutdown_timeout(SHUTDOWN);
    }
}

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT or SIGTERM: finish what is in flight, then end.
    Stop { number: i32 },
    /// SIGHUP: read the configuration again.
    Reload,
}

impl Signal {
    /// The exit code of a process that ends at once because of this signal: 128 and its number.
    #[must_use]
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Stop { number } => 128 + number,
            Self::Reload => 128 + SignalKind::hangup().as_raw_value(),
        }
    }
}

/// Listens for SIGINT, SIGTERM and SIGHUP from now on. Must be called inside a runtime.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn signals() -> io::Result<mpsc::Receiver<Signal>> {
    let (send, receive) = mpsc::channel(8);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut stream = signal(kind)?;
        let send = send.clone();
        let meaning = if kind == SignalKind::hangup() {
            Signal::Reload
        } else {
            Signal::Stop { number: kind.as_raw_value() }
        };
        tokio::spawn(
            async move { while stream.recv().await.is_some() && send.send(meaning).await.is_ok() {} },
        );
    }
    Ok(receive)
}

/// Raises the soft limit of open files to the hard one: every client and upstream connection is a file.
/// Gives back the limit now in force, `None` when there is none.
pub fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            limit.current
        }
    }
}
