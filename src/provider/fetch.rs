//! Fetching a description from a URL the user named: bounded in size, time and redirects.

use std::time::Duration;

use http_body_util::BodyExt;

use super::source::MAX_BYTES;
use crate::{
    diagnostic::{Diagnostic, codes},
    upstream::{Failure, transport},
};

const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 5;

/// What came back, and the address it finally came from (relative server URLs are relative to that).
#[derive(Debug)]
pub struct Fetched {
    pub bytes: Vec<u8>,
    pub url: String,
}

/// Fetches `url`; needs a tokio runtime.
pub async fn fetch(url: &str) -> Result<Fetched, Diagnostic> {
    let refuse =
        |title: String, help: &str| Diagnostic::error(codes::FETCH_FAILED, title).file(url).help(help);
    let client = transport::plain_client(TIMEOUT, MAX_REDIRECTS)
        .map_err(|error| refuse(format!("no client could be made: {error}"), ""))?;
    let request =
        client.get(url).header("accept", "application/json, application/yaml, text/yaml, */*;q=0.5");
    let response = request.send().await.map_err(|error| {
        refuse(
            format!("cannot fetch the description: {}", why(&error)),
            "check the address, or download the file and name it instead",
        )
    })?;
    let status = response.status();
    if !status.is_success() {
        return Err(refuse(
            format!("the server answered {status}"),
            "open the address in a browser: it must give the description itself, without a login",
        ));
    }
    let final_url = response.url().to_string();
    let mut body = reqwest::Body::from(response);
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| refuse(format!("the answer broke off: {error}"), "try again"))?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
        if bytes.len() as u64 > MAX_BYTES {
            return Err(refuse(
                format!("the description is larger than {} MB", MAX_BYTES >> 20),
                "name a smaller one",
            ));
        }
    }
    Ok(Fetched { bytes, url: final_url })
}

/// The reason in words for people.
fn why(error: &reqwest::Error) -> String {
    if error.is_redirect() {
        return format!("it redirects more than {MAX_REDIRECTS} times");
    }
    if error.is_timeout() {
        return format!("it took longer than {} seconds", TIMEOUT.as_secs());
    }
    Failure::from_reqwest(error).plain().to_owned()
}
