//! The inspector against hyper: what the one takes for a request, the other hands to the service.

use proptest::prelude::*;
use tokio::{io::duplex, sync::mpsc};

use super::*;
use crate::server::{
    connection::{self, Context},
    inspect::{Inspector, Refused, tests::pieces},
    state::State,
};

/// What the inspector makes of a stream.
struct Expected {
    /// Requests let through, every upgrade declined.
    heads: usize,
    refused: Option<Refused>,
    /// The last body is not complete, so its request stays open.
    open: bool,
}

fn expected(bytes: &[u8], limits: &Limits) -> Expected {
    let (mut inspector, mut at, mut heads) = (Inspector::new(), 0, 0);
    loop {
        let seen = inspector.inspect(&bytes[at..], limits);
        at += seen.pass;
        heads += seen.heads as usize;
        if seen.refused.is_some() || !inspector.is_waiting() {
            let open = seen.refused.is_none() && inspector.is_unfinished();
            return Expected { heads, refused: seen.refused, open };
        }
        inspector.decide(false);
    }
}

/// Calls of the service, and the statuses of the answers.
async fn served(bytes: &[u8], cuts: &[usize], expected: &Expected) -> (usize, Vec<u16>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    let service = service_fn(move |request: Request<Incoming>, _| {
        seen.fetch_add(1, Ordering::SeqCst);
        async move {
            let _ = request.into_body().collect().await;
            Response::new(Body::Empty)
        }
    });
    let mut config = Gate::quick();
    config.timeouts.keep_alive = Duration::from_millis(2);
    config.timeouts.header_read = Duration::from_millis(2);
    let stats: Arc<Stats> = Arc::default();
    let (alive, _) = mpsc::channel(1);
    let open = stats.enter(1, &alive).unwrap();
    let context = Context::new(0, Arc::new(config), stats, Drain::new(), Arc::new(service), alive);
    let loopback = SocketAddr::from(([127, 0, 0, 1], 1));
    let info = ConnInfo { peer: loopback, local: loopback, worker: 0, state: State::default() };
    let (mut client, server) = duplex(64 * 1024);
    let served = tokio::spawn(connection::serve(server, info, open, Arc::new(context)));
    let mut start = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        // The server may have closed by then.
        let _ = client.write_all(&bytes[start..end]).await;
        tokio::task::yield_now().await;
        start = end;
    }
    let mut text = Vec::new();
    let finish = async {
        while expected.open && calls.load(Ordering::SeqCst) < expected.heads {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if !expected.open {
            client.read_to_end(&mut text).await.unwrap();
        }
    };
    timeout(PATIENCE, finish).await.expect("the server answers and closes");
    served.abort();
    let text = String::from_utf8(text).unwrap();
    let statuses =
        text.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)?.parse().ok()).collect();
    (calls.load(Ordering::SeqCst), statuses)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hyper_serves_what_the_inspector_lets_through_and_nothing_else(
        bytes in pieces().prop_filter("1.0 closes after each answer", |bytes| {
            !bytes.windows(8).any(|window| window == b"HTTP/1.0")
        }),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let expected = expected(&bytes, &Limits::default());
        let (heads, refused) = (expected.heads, expected.refused);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (calls, statuses) = runtime.block_on(served(&bytes, &cuts, &expected));
        // A body refused in one piece with its head keeps its request from the service.
        let spared = usize::from(matches!(refused, Some(Refused::Body(_))));
        prop_assert!((heads - spared..=heads).contains(&calls), "{calls} calls for {heads} heads");
        let taken = statuses.iter().filter(|status| **status == 200).count();
        prop_assert!(taken <= heads, "{statuses:?}");
        if let Some(refused) = refused {
            prop_assert_eq!(statuses.len(), heads + usize::from(matches!(refused, Refused::Head(_))));
            prop_assert!(matches!(statuses.last(), Some(400 | 414 | 431)), "{:?}", statuses);
        }
    }
}
