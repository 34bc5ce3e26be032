//! One thread per core: a `current_thread` runtime, its own listening sockets, its own service.

use std::{io, net::TcpListener as StdListener, sync::Arc, thread, time::Duration};

use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{Barrier, mpsc},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    accept::accept,
    config::{Limits, ServerConfig},
    connection::Context,
    control::raise_file_limit,
    drain::{Drain, Phase},
    listen::Listeners,
    service::Service,
    stats::Stats,
};

/// A connection aborted at the end of its time gets this long to notice before its runtime goes.
const LAST_BREATH: Duration = Duration::from_millis(100);

/// The running data plane.
pub struct Server {
    threads: Vec<thread::JoinHandle<Ended>>,
    drain: Drain,
    stats: Arc<Stats>,
}

/// How the data plane came to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Workers whose requests were not all finished within `drain_timeout` and were cut.
    pub cut: usize,
    /// Workers that ended in a panic; always a fault of the gateway.
    pub failed: usize,
}

/// Starts one thread per worker of `listeners`. `make` is called on each of them, inside its runtime.
///
/// # Errors
/// When the system gives no thread or no runtime. Threads already started then wind down.
pub fn run<S, M>(
    listeners: Listeners,
    config: ServerConfig,
    drain: &Drain,
    stats: &Arc<Stats>,
    make: M,
) -> io::Result<Server>
where
    S: Service,
    M: Fn(usize) -> S + Send + Sync + 'static,
{
    let mut config = config.sane();
    limit_by_files(&mut config);
    let (config, make) = (Arc::new(config), Arc::new(make));
    let all = Arc::new(Barrier::new(listeners.workers()));
    let mut server = Server { threads: Vec::new(), drain: drain.clone(), stats: stats.clone() };
    for (index, sockets) in listeners.into_workers().into_iter().enumerate() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (config, make) = (config.clone(), make.clone());
        let (drain, stats, all) = (drain.clone(), stats.clone(), all.clone());
        let thread = thread::Builder::new().name(format!("gw-worker-{index}")).spawn(move || {
            work(&runtime, sockets, &all, |alive| {
                Context::new(index, config, stats, drain, Arc::new(make(index)), alive)
            })
        })?;
        server.threads.push(thread);
    }
    Ok(server)
}

/// A client connection may need a second file towards the upstream; one without a file left helps nobody.
fn limit_by_files(config: &mut ServerConfig) {
    let Some(files) = raise_file_limit() else { return };
    let fit = usize::try_from(files / 2).unwrap_or(usize::MAX).max(1);
    if config.limits.connections > fit {
        // Of the default nobody was promised anything.
        if config.limits.connections == Limits::default().connections {
            tracing::debug!(files, connections = fit, "the limit of open files lowers that of connections");
        } else {
            tracing::warn!(files, connections = fit, "the limit of open files lowers that of connections");
        }
        config.limits.connections = fit;
    }
}

impl Server {
    #[must_use]
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Blocks until the drain is through and every worker has ended.
    #[must_use]
    pub fn join(self) -> Ended {
        let mut total = Ended::default();
        for thread in self.threads {
            match thread.join() {
                Ok(ended) => total.cut += ended.cut,
                Err(_) => total.failed += 1,
            }
        }
        self.drain.advance(Phase::Done);
        total
    }
}

/// The life of one worker thread. It ends with the last of `all`: what it fetches may be read by clients of
/// another.
fn work<S: Service>(
    runtime: &Runtime,
    sockets: Vec<StdListener>,
    all: &Barrier,
    make: impl FnOnce(mpsc::Sender<()>) -> Context<S>,
) -> Ended {
    runtime.block_on(async {
        // Every connection holds a sender: the receiver ends when the last one is gone.
        let (alive, mut all_gone) = mpsc::channel(1);
        let context = Arc::new(make(alive));
        let (config, drain) = (context.config.clone(), context.drain.clone());
        let mut loops = JoinSet::new();
        for socket in sockets {
            match TcpListener::from_std(socket) {
                Ok(listener) => drop(loops.spawn(accept(listener, context.clone(), Phase::Closing))),
                Err(error) => tracing::error!(%error, "a listening socket could not be used"),
            }
        }
        drop(context);
        drain.reached(Phase::Leaving).await;
        tokio::time::sleep(config.drain_delay).await;
        drain.advance(Phase::Closing);
        while loops.join_next().await.is_some() {}
        let closing = Instant::now();
        let cut = timeout(config.drain_timeout, all_gone.recv()).await.is_err();
        if cut {
            drain.advance(Phase::Done);
            let _ = timeout(LAST_BREATH, all_gone.recv()).await;
        }
        let left = config.drain_timeout.saturating_sub(closing.elapsed());
        tokio::select! {
            _ = timeout(left, all.wait()) => {}
            () = drain.reached(Phase::Done) => {}
        }
        Ended { cut: usize::from(cut), failed: 0 }
    })
}
