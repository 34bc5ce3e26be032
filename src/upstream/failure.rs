//! Why an upstream call failed, in the words of RFC 9209, section 2.3.
//!
//! reqwest's error is a chain; this file is the only one that looks into it.

use std::{error::Error as StdError, fmt, io};

use crate::problem::{self, Problem};

/// One failed attempt.
#[derive(Debug)]
pub struct Failure {
    pub reason: Reason,
    /// The chain of causes, for the log alone: it may hold addresses.
    pub cause: String,
}

/// The reasons told apart; each is a label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Dns,
    ConnectRefused,
    ConnectTimeout,
    Connect,
    Tls,
    /// The connection closed before an answer began: a kept-alive connection that the upstream just gave up.
    ClosedEarly,
    Protocol,
    /// The answer ended before it was complete.
    AnswerCut,
    FirstByteTimeout,
    IdleTimeout,
    TotalTimeout,
    /// The client's own body failed while it was sent on.
    RequestBody,
    Other,
}

impl Reason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::ClosedEarly => "closed_early",
            Self::Protocol => "protocol",
            Self::AnswerCut => "answer_cut",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::RequestBody => "request_body",
            Self::Other => "other",
        }
    }

    /// The `error` parameter of `Proxy-Status`.
    fn proxy_error(self) -> &'static str {
        match self {
            Self::Dns => "dns_error",
            Self::ConnectRefused => "connection_refused",
            Self::ConnectTimeout => "connection_timeout",
            Self::Connect | Self::ClosedEarly => "connection_terminated",
            Self::Tls => "tls_protocol_error",
            Self::AnswerCut => "http_response_incomplete",
            Self::Protocol | Self::Other => "http_protocol_error",
            Self::FirstByteTimeout | Self::TotalTimeout => "http_response_timeout",
            Self::IdleTimeout => "connection_read_timeout",
            Self::RequestBody => "http_request_error",
        }
    }
}

impl Failure {
    #[must_use]
    pub fn new(reason: Reason, cause: impl Into<String>) -> Self {
        Self { reason, cause: cause.into() }
    }

    #[must_use]
    pub fn from_reqwest(error: &reqwest::Error) -> Self {
        let mut cause = String::new();
        let mut link: Option<&(dyn StdError + 'static)> = error.source();
        let mut found = None;
        while let Some(error) = link {
            if !cause.is_empty() {
                cause.push_str(": ");
            }
            cause.push_str(&error.to_string());
            found = found.or_else(|| classify(error));
            link = error.source();
        }
        let reason = match found {
            _ if error.is_connect() && error.is_timeout() => Reason::ConnectTimeout,
            Some(Reason::ClosedEarly) if error.is_connect() => Reason::Connect,
            Some(reason) => reason,
            None if error.is_connect() && cause.contains("dns error") => Reason::Dns,
            None if error.is_connect() => Reason::Connect,
            None if error.is_body() => Reason::RequestBody,
            None => Reason::Other,
        };
        if cause.is_empty() {
            cause = error.to_string();
        }
        Self { reason, cause }
    }

    /// An answer that broke off after it had begun.
    #[must_use]
    pub fn of_answer(error: &reqwest::Error) -> Self {
        let failure = Self::from_reqwest(error);
        match failure.reason {
            Reason::RequestBody | Reason::ClosedEarly | Reason::Other => {
                Self { reason: Reason::AnswerCut, ..failure }
            }
            _ => failure,
        }
    }

    /// Whether the request surely did no harm if sent again: the connection ended before an answer began.
    #[must_use]
    pub fn is_stale_connection(&self) -> bool {
        self.reason == Reason::ClosedEarly
    }

    /// Whether no connection was made, so that the request never left.
    #[must_use]
    pub fn was_not_sent(&self) -> bool {
        use Reason::{Connect, ConnectRefused, ConnectTimeout, Dns, Tls};
        matches!(self.reason, Dns | ConnectRefused | ConnectTimeout | Connect | Tls)
    }

    /// The failure in words for the person who named the address.
    #[must_use]
    pub fn plain(&self) -> &str {
        match self.reason {
            Reason::Dns => "the name does not resolve",
            Reason::ConnectRefused => "nothing listens there",
            // The last link of the chain is the one that tells.
            _ => self.cause.rsplit(": ").next().unwrap_or(&self.cause),
        }
    }

    #[must_use]
    pub fn into_problem(self) -> Problem {
        let (kind, detail) = match self.reason {
            Reason::Dns => (&problem::UPSTREAM_UNREACHABLE, "the upstream's name does not resolve"),
            Reason::ConnectRefused => (&problem::UPSTREAM_UNREACHABLE, "the upstream refused the connection"),
            Reason::ConnectTimeout => {
                (&problem::UPSTREAM_TIMEOUT, "the upstream did not accept a connection in time")
            }
            Reason::Connect => {
                (&problem::UPSTREAM_UNREACHABLE, "no connection to the upstream could be made")
            }
            Reason::Tls => {
                (&problem::UPSTREAM_UNREACHABLE, "no secure connection to the upstream could be made")
            }
            Reason::ClosedEarly => {
                (&problem::UPSTREAM_PROTOCOL_ERROR, "the upstream closed the connection without an answer")
            }
            Reason::Protocol | Reason::Other => {
                (&problem::UPSTREAM_PROTOCOL_ERROR, "the upstream's answer could not be read")
            }
            Reason::AnswerCut => {
                (&problem::UPSTREAM_PROTOCOL_ERROR, "the upstream's answer ended before it was complete")
            }
            Reason::FirstByteTimeout => {
                (&problem::UPSTREAM_TIMEOUT, "the upstream did not begin its answer in time")
            }
            Reason::IdleTimeout => {
                (&problem::UPSTREAM_TIMEOUT, "the upstream stopped taking the request body")
            }
            Reason::TotalTimeout => (&problem::UPSTREAM_TIMEOUT, "the call took longer than it may"),
            Reason::RequestBody => {
                (&problem::MALFORMED_REQUEST, "the request body ended before it was complete")
            }
        };
        Problem::new(kind, detail).proxy_error(self.reason.proxy_error()).cause(self.cause)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.cause)
    }
}

impl StdError for Failure {}

/// What one link of the chain says, if it says anything.
fn classify(error: &(dyn StdError + 'static)) -> Option<Reason> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some(failure.reason);
    }
    if error.downcast_ref::<rustls::Error>().is_some() {
        return Some(Reason::Tls);
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return classify_hyper(error);
    }
    let error = error.downcast_ref::<io::Error>()?;
    if error.get_ref().is_some_and(<dyn StdError + Send + Sync>::is::<rustls::Error>) {
        return Some(Reason::Tls);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(Reason::ConnectRefused),
        io::ErrorKind::TimedOut => Some(Reason::ConnectTimeout),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Some(Reason::ClosedEarly)
        }
        _ => None,
    }
}

fn classify_hyper(error: &hyper::Error) -> Option<Reason> {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        Some(Reason::ClosedEarly)
    } else if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
        Some(Reason::Protocol)
    } else {
        None
    }
}
