//! What the admin API asks of the cache: how it is, what is in it, and what shall go.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use super::{meaning, nodes};
use crate::{
    admin,
    cache::{
        Cache, Nodes, Owner, Purge,
        control::{self, Reuse},
        directives::RequestDirectives,
        entry::{Entry, Stored},
        key::Parts,
        listing::{Item, Page},
        tags,
    },
    diagnostic::{Diagnostic, codes},
    exchange::now_ms,
    gateway::{Gateway, Route},
    telemetry,
};

/// Answers of one page where nothing else is asked for, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

/// Variants of one address that are shown.
const MAX_VARIANTS: usize = 1000;

/// How long a dry run may count.
const COUNT_FOR: Duration = Duration::from_secs(30);

type Outcome<T> = Result<T, Vec<Diagnostic>>;

/// The cache as the admin API sees it.
pub struct Store<'a> {
    pub cache: Option<&'a Cache>,
    /// There where the cache is.
    pub nodes: Option<&'a Nodes>,
    pub gateway: &'a Gateway,
    pub runtime: &'a Handle,
}

fn off() -> Vec<Diagnostic> {
    vec![
        Diagnostic::error(codes::CACHE_OFF, "the cache is off")
            .help("take `cache: off` out of its configuration and start it again"),
    ]
}

impl Store<'_> {
    fn cache(&self) -> Outcome<&Cache> {
        self.cache.ok_or_else(off)
    }

    /// Purges here and on all other nodes.
    pub fn purge(&self, what: &admin::Purge) -> Outcome<admin::Purged> {
        let cache = self.cache()?;
        let mut purge = meaning::purge(self.gateway, what).map_err(|wrong| vec![wrong])?;
        if what.dry_run {
            return self.count(cache, &purge);
        }
        if what.soft {
            purge = purge.softly(now_ms());
        }
        let nodes = self.nodes.ok_or_else(off)?;
        match self.runtime.block_on(nodes.purge(purge)) {
            Ok(spread) => Ok(nodes::purged(spread)),
            Err(error) => Err(vec![
                Diagnostic::error(codes::PURGE_UNCONFIRMED, error.to_string())
                    .help("`gatewright cache stats` says what is wrong with the disk"),
            ]),
        }
    }

    fn count(&self, cache: &Cache, purge: &Purge) -> Outcome<admin::Purged> {
        let (start, mut answers, mut after, mut all_counted) = (Instant::now(), 0, None, true);
        loop {
            let page = self.page(cache, purge, after, MAX_PAGE)?;
            answers += page.items.len() as u64;
            all_counted &= !page.without_disk;
            after = page.next;
            if after.is_none() || start.elapsed() > COUNT_FOR {
                let all_counted = all_counted && after.is_none();
                return Ok(admin::Purged {
                    answers,
                    all_counted,
                    reach: admin::Reach::Alone,
                    sequence: None,
                    why: None,
                });
            }
        }
    }

    pub fn list(&self, which: &admin::Listing) -> Outcome<admin::StoredPage> {
        let cache = self.cache()?;
        let purge = meaning::listing(self.gateway, which).map_err(|wrong| vec![wrong])?;
        let after = which.after.as_deref().map(str::parse).transpose().map_err(|_| {
            let wrong = Diagnostic::error(codes::USAGE, "`after` is no end of a page");
            vec![wrong.help("give the `next` of the page before, or leave it out")]
        })?;
        let limit = which.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
        let page = self.page(cache, &purge, after, limit)?;
        let names = Names::of(self.gateway);
        Ok(admin::StoredPage {
            answers: page.items.iter().filter_map(|item| names.stored(item, now_ms())).collect(),
            next: page.next.map(|cursor| cursor.to_string()),
            without_disk: page.without_disk,
        })
    }

    pub fn variants(&self, url: &str) -> Outcome<Vec<admin::Variant>> {
        let cache = self.cache()?;
        let what = admin::Purge { url: Some(url.to_owned()), ..admin::Purge::default() };
        let purge = meaning::purge(self.gateway, &what).map_err(|wrong| vec![wrong])?;
        let (names, now_ms) = (Names::of(self.gateway), now_ms());
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.page(cache, &purge, after, MAX_VARIANTS)?;
            found.extend(page.items.iter().filter_map(|item| variant(self.gateway, &names, item, now_ms)));
            after = page.next;
            if after.is_none() || found.len() >= MAX_VARIANTS {
                found.truncate(MAX_VARIANTS);
                return Ok(found);
            }
        }
    }

    fn page(
        &self,
        cache: &Cache,
        purge: &Purge,
        after: Option<crate::cache::listing::Cursor>,
        limit: usize,
    ) -> Outcome<Page> {
        self.runtime.block_on(cache.list(purge, after, limit)).map_err(|_| {
            vec![
                Diagnostic::error(codes::CACHE_UNAVAILABLE, "the disk does not answer in time")
                    .help("try again; `gatewright cache stats` says what is wrong with it"),
            ]
        })
    }
}

/// How the cache is; `address` is where callers reach the gateway.
pub fn state(cache: Option<&Cache>, address: &str) -> admin::CacheState {
    let address = address.to_owned();
    let Some(cache) = cache else {
        return admin::CacheState { enabled: false, address, ..admin::CacheState::default() };
    };
    let (report, (max_memory, max_disk)) = (cache.stats(), cache.limits());
    let hits = report.hits_memory + report.hits_disk;
    let all = hits + report.stale + report.misses;
    admin::CacheState {
        enabled: true,
        address,
        memory: admin::MemoryTier {
            entries: report.memory_entries,
            bytes: report.memory_bytes,
            max_bytes: max_memory,
            evictions: report.evictions,
        },
        disk: admin::DiskTier {
            working: report.disk_ok,
            problem: report.disk_problem,
            entries: report.disk_entries,
            bytes: report.disk_bytes,
            max_bytes: max_disk,
            generations_dropped: report.disk_generations_dropped,
            errors: report.disk_errors,
            damaged: report.disk_corrupt,
            writes_skipped: report.disk_writes_skipped,
            reads_late: report.disk_reads_late,
        },
        lookups: admin::Lookups {
            hits_memory: report.hits_memory,
            hits_disk: report.hits_disk,
            stale: report.stale,
            misses: report.misses,
            bypasses: report.bypasses,
            hit_ratio: (all > 0).then(|| hits as f64 / all as f64),
        },
        stores: admin::Stores {
            stored: report.stores,
            refreshed: report.refreshes,
            abandoned: report.abandoned,
        },
        purges: admin::PurgeCounts {
            hard: report.purges,
            soft: report.soft_purges,
            answers: report.purged,
            unconfirmed: report.purges_unconfirmed,
            invalidations: report.invalidations,
        },
    }
}

/// The operations of a generation by what stands in a key.
struct Names<'g>(HashMap<(u64, u64), &'g Route>);

impl<'g> Names<'g> {
    fn of(gateway: &'g Gateway) -> Self {
        let owner = |route: &Route| {
            let owner = Owner::of(&route.api, &route.operation);
            (owner.api, owner.operation)
        };
        Self(meaning::routes(gateway).map(|route| (owner(route), route)).collect())
    }

    fn stored(&self, item: &Item, now_ms: u64) -> Option<admin::Stored> {
        let (parts, entry) = (Parts::of(&item.key)?, &item.entry);
        let route = self.0.get(&(parts.owner.api, parts.owner.operation));
        Some(admin::Stored {
            url: url(&parts, route.map_or(&[], |route| &route.secret_params)),
            status: entry.status.as_u16(),
            age_seconds: entry.policy.age_ms(now_ms) / 1000,
            ttl_seconds: entry.policy.ttl_ms(now_ms).div_euclid(1000),
            bytes: entry.body.size(),
            incomplete: matches!(entry.body, Stored::Parts(_)),
            in_memory: item.in_memory,
            on_disk: item.on_disk,
            private: parts.own,
            api: route.map(|route| route.api.to_string()),
            operation: route.map(|route| route.operation.to_string()),
            tags: tags::each(&entry.headers).map(text).collect(),
        })
    }
}

fn url(parts: &Parts<'_>, secret: &[String]) -> String {
    let query = parts.shown_query().map(|query| format!("?{}", telemetry::redacted(&query, secret)));
    format!("http://{}{}{}", parts.host, parts.path, query.unwrap_or_default())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn variant(gateway: &Gateway, names: &Names<'_>, item: &Item, now_ms: u64) -> Option<admin::Variant> {
    let (entry, policy) = (&item.entry, item.entry.policy);
    let parts = Parts::of(&item.key)?;
    let query = parts.shown_query();
    let route = meaning::route(gateway, parts.host, parts.path, query.as_deref());
    let grace = route.and_then(|route| route.cache.as_ref()).map_or(0, |options| options.grace_ms);
    let vary = entry.vary.fields().iter();
    let head = entry.fields();
    Some(admin::Variant {
        answer: names.stored(item, now_ms)?,
        vary: vary.map(|(name, value)| (name.to_string(), value.as_deref().map(text))).collect(),
        received_ms: policy.received_ms,
        initial_age_ms: policy.initial_age_ms,
        lifetime_ms: policy.lifetime_ms,
        stale_while_revalidate_ms: policy.revalidate_ms,
        stale_if_error_ms: policy.error_ms.max(grace),
        always_validate: policy.always_validate,
        never_stale: policy.never_stale,
        shareable: policy.shareable,
        verdict: verdict(route, &parts, entry, now_ms),
        head: head.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
    })
}

/// What a plain GET would get.
fn verdict(route: Option<&Route>, parts: &Parts<'_>, entry: &Entry, now_ms: u64) -> String {
    let Some(route) = route else {
        return "is not used: no route of the present configuration serves this address".to_owned();
    };
    let Some(options) = &route.cache else {
        return format!("is not used: `{}` of `{}` does not cache", route.operation, route.api);
    };
    if options.owner != parts.owner {
        let (operation, api) = (&route.operation, &route.api);
        return format!(
            "is not used: the address leads to `{operation}` of `{api}` now, which did not store it"
        );
    }
    let (policy, plain) = (&entry.policy, RequestDirectives::default());
    let ttl = policy.ttl_ms(now_ms);
    let seconds = |ms: i64| format!("{} s", ms.max(0) / 1000);
    let left = |window: u64| seconds(i64::try_from(window).unwrap_or(i64::MAX).saturating_add(ttl));
    match control::reuse(policy, &plain, options, now_ms) {
        Reuse::Fresh => format!("is served as it is: fresh for another {}", seconds(ttl)),
        Reuse::Stale => "is served stale".to_owned(),
        Reuse::WhileRevalidating => {
            format!("is served stale for another {} while one request renews it", left(policy.revalidate_ms))
        }
        Reuse::Validate(_) => {
            let why = match policy.always_validate {
                true => "`no-cache` asks for it".to_owned(),
                false => format!("stale for {}", seconds(-ttl)),
            };
            let meanwhile = match policy.usable_on_error(&plain, options, now_ms) {
                true => format!("; if the upstream fails it is served for another {}", {
                    left(policy.error_ms.max(options.grace_ms))
                }),
                false => String::new(),
            };
            format!("is validated before it is served: {why}{meanwhile}")
        }
    }
}
