//! Lookup: what the store can answer, and what becomes of the upstream's answer.

use http::{HeaderMap, Response, request::Parts};

use super::{
    finish::Record,
    forward::{Answer, Failed},
    hop,
};
use crate::{
    exchange::Body,
    gateway::{Live, Route},
    policy::Findings,
    problem::Problem,
    route::Target,
};

pub enum Looked {
    Answered(Response<Body>),
    Unanswered(Lookup),
}

pub struct Lookup {}

pub async fn lookup(
    _live: &Live,
    _route: &Route,
    _head: &Parts,
    _target: &Target<'_>,
    _found: &Findings,
    _record: &mut Record,
) -> Result<Looked, Problem> {
    Ok(Looked::Unanswered(Lookup {}))
}

impl Lookup {
    pub fn condition(&self, _headers: &mut HeaderMap) {}

    pub async fn settle(
        self,
        answer: Result<Answer, Failed>,
        _record: &mut Record,
    ) -> Result<Response<Body>, Problem> {
        let answer = answer.map_err(|failed| failed.problem)?;
        let mut response = answer.response.map(Body::stream);
        hop::strip(response.headers_mut());
        Ok(response)
    }
}
