//! The table against a naive matcher: every template as a regular expression, sorted by the rules of the
//! module's page, tried one after the other.

use std::cmp::Reverse;

use http::{HeaderMap, HeaderValue, Method};
use proptest::{prelude::*, sample::select};
use regex::Regex;

use super::*;

fn spec(id: u32, method: &str, template: &str) -> RouteSpec {
    let methods = match method {
        "*" => Methods::Any,
        name => Methods::One(Method::from_bytes(name.as_bytes()).unwrap()),
    };
    let template = Template::parse_with_tail(template).unwrap();
    RouteSpec { methods, template, conditions: Conditions::default(), spans: Vec::new(), id }
}

fn with_query(mut spec: RouteSpec, name: &str, value: Option<&str>) -> RouteSpec {
    spec.conditions.query.push((name.into(), value.map(Into::into)));
    spec
}

fn spanning(mut spec: RouteSpec, name: &str) -> RouteSpec {
    spec.spans.push(name.into());
    spec
}

/// `GET`-routes by their templates; the id is the place in the list.
fn table(templates: &[&str]) -> HostRoutes {
    let specs = templates.iter().zip(0..).map(|(template, id)| spec(id, "GET", template)).collect();
    let (routes, conflicts) = compile(specs);
    assert_eq!(conflicts, []);
    routes
}

fn find(routes: &HostRoutes, request: &str) -> String {
    let (method, target) = request.split_once(' ').unwrap_or(("GET", request));
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    match routes.find(&method, path, query, &HeaderMap::new()) {
        Found::Route { id, params } => {
            let params: Vec<_> = params.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("{id}{}", params.concat())
        }
        Found::MethodNotAllowed { allow } => format!("405 {}", allow.to_str().unwrap()),
        Found::NotFound => "404".into(),
    }
}

#[track_caller]
fn check(routes: &HostRoutes, expected: &[(&str, &str)]) {
    for (request, outcome) in expected {
        assert_eq!(find(routes, request), *outcome, "{request}");
    }
}

#[test]
fn literals_win_over_mixed_segments_and_those_over_parameters() {
    let routes = table(&[
        "/a/{x}-{y}",
        "/a/{x}.json",
        "/a/{x}",
        "/a/static",
        "/a/static/",
        "/a/{x}/deep",
        "/a/static/other",
    ]);
    check(
        &routes,
        &[
            ("/a/1-2-3", "0 x=1 y=2-3"),
            ("/a/1.json", "1 x=1"),
            ("/a/1-2.json", "1 x=1-2"),
            ("/a/.json", "2 x=.json"),
            ("/a/-", "2 x=-"),
            ("/a/static", "3"),
            ("/a/static/", "4"),
            ("/a/static/deep", "5 x=static"),
            ("/a/static/other", "6"),
            ("/a/x/other", "404"),
            ("/a/", "404"),
            ("/a//deep", "404"),
            ("/A/static", "404"),
            ("/a/static//", "404"),
        ],
    );
}

#[test]
fn a_literal_segment_that_leads_nowhere_goes_back_to_the_parameter() {
    let routes = table(&["/users/me", "/users/{id}/posts", "/{any}/me/posts", "/users/me/{x}.txt"]);
    check(
        &routes,
        &[
            ("/users/me", "0"),
            ("/users/me/posts", "1 id=me"),
            ("/other/me/posts", "2 any=other"),
            ("/users/me/a.txt", "3 x=a"),
            ("/users/me/a", "404"),
        ],
    );
    // The shape chosen by Axum fails by its suffix, a wider shape takes the path.
    let routes = table(&["/users/{id}.json", "/{kind}/me", "/{kind}/{rest}"]);
    check(&routes, &[("/users/me", "1 kind=users"), ("/users/x", "2 kind=users rest=x")]);
}

#[test]
fn whole_segments_come_before_parts_of_segments() {
    let routes = table(&["/{a}.json/{b}", "/{a}/x"]);
    check(&routes, &[("/q.json/x", "1 a=q.json"), ("/q.json/y", "0 a=q b=y")]);
}

#[test]
fn every_odd_segment_of_real_descriptions_is_matched() {
    let routes = table(&[
        "/v{version}/x",
        "/docs('{key}')",
        "/@{lat},{lon}",
        "/space here/{p}",
        "/enc%20oded/%7Eme",
        "/Case",
        "/case",
        "/grüße",
        "//double",
        "/twice/{t}/and/{t}",
        "/:id/*",
        "/api/{id}{.format}",
        "/demo/{ white space }/{x*()_-+=x}/{-To_Do}/",
        "/a%2fb/{}",
        "/",
    ]);
    check(
        &routes,
        &[
            ("/v1.2/x", "0 version=1.2"),
            ("/v/x", "404"),
            ("/docs('a')", "1 key=a"),
            ("/docs('')", "404"),
            ("/@1.5,-2", "2 lat=1.5 lon=-2"),
            ("/space%20here/1", "3 p=1"),
            ("/enc%20oded/~me", "4"),
            ("/Case", "5"),
            ("/case", "6"),
            ("/cAse", "404"),
            ("/gr%C3%BC%C3%9Fe", "7"),
            ("//double", "8"),
            ("/double", "404"),
            ("/twice/1/and/2", "9 t=1 t=2"),
            ("/:id/*", "10"),
            ("/x/*", "404"),
            ("/api/12", "11 id=1 .format=2"),
            ("/api/%20.json", "11 id=%20 .format=.json"),
            ("/api/1", "404"),
            ("/demo/a/b/c/", "12  white space =a x*()_-+=x=b -To_Do=c"),
            ("/a%2Fb/c", "13 =c"),
            ("/a/b/c", "404"),
            ("/", "14"),
        ],
    );
}

#[test]
fn verbs_behind_a_colon_share_a_shape() {
    let (routes, conflicts) = compile(vec![
        spec(0, "POST", "/items/{id}:publish"),
        spec(1, "POST", "/items/{id}:archive"),
        spec(2, "GET", "/items/{itemId}"),
        spec(3, "DELETE", "/items/{id}"),
        spec(4, "GET", "/items/{id}"),
    ]);
    assert_eq!(conflicts, [Conflict { kept: 2, dropped: 4 }]);
    assert_eq!(routes.len(), 4);
    check(
        &routes,
        &[
            ("POST /items/5:publish", "0 id=5"),
            ("POST /items/a:b:archive", "1 id=a:b"),
            ("GET /items/5:publish", "2 itemId=5:publish"),
            ("DELETE /items/5", "3 id=5"),
            ("POST /items/5", "405 DELETE, GET, HEAD"),
            ("PUT /items/5:publish", "405 DELETE, GET, HEAD, POST"),
        ],
    );
}

#[test]
fn a_literal_path_without_the_method_answers_405_and_does_not_fall_through() {
    let (routes, _) = compile(vec![
        spec(0, "GET", "/users/me"),
        spec(1, "POST", "/users/{id}"),
        spec(2, "QUERY", "/search"),
        spec(3, "*", "/any"),
    ]);
    check(
        &routes,
        &[
            ("POST /users/me", "405 GET, HEAD"),
            ("POST /users/you", "1 id=you"),
            ("QUERY /search", "2"),
            ("GET /search", "405 QUERY"),
            ("PURGE /any", "3"),
            ("HEAD /users/me", "0"),
            ("OPTIONS /users/me", "405 GET, HEAD"),
        ],
    );
}

#[test]
fn get_answers_head_unless_head_is_declared() {
    let (routes, _) = compile(vec![
        with_query(spec(0, "GET", "/a"), "x", None),
        spec(1, "HEAD", "/a"),
        spec(2, "GET", "/b/{id}"),
        spec(3, "*", "/b/{id}"),
    ]);
    check(&routes, &[("HEAD /a?x", "1"), ("GET /a?x", "0"), ("HEAD /b/1", "2 id=1"), ("PUT /b/1", "3 id=1")]);
}

#[test]
fn conditions_choose_between_routes_of_one_path() {
    let (routes, conflicts) = compile(vec![
        with_query(spec(0, "GET", "/find"), "mode", Some("a")),
        with_query(spec(1, "GET", "/find"), "mode", Some("b")),
        with_query(spec(2, "GET", "/find"), "mode", None),
        with_query(with_query(spec(3, "GET", "/find"), "mode", Some("a")), "x", None),
        with_query(spec(4, "POST", "/rpc"), "Action", Some("One")),
        spec(5, "GET", "/{wide}"),
        with_query(spec(6, "GET", "/find"), "mode", Some("a")),
    ]);
    assert_eq!(conflicts, [Conflict { kept: 0, dropped: 6 }]);
    check(
        &routes,
        &[
            ("/find?mode=a", "0"),
            ("/find?mode=b", "1"),
            ("/find?mode=c", "2"),
            ("/find?x&mode=a", "3"),
            ("/find?mode=a&mode=b", "2"),
            ("/find", "5 wide=find"),
            ("POST /rpc?Action=One", "4"),
            ("POST /rpc?Action=Two", "405 GET, HEAD"),
            ("GET /rpc?Action=One", "405 POST"),
            ("GET /rpc", "5 wide=rpc"),
            ("POST /find?mode=a", "405 GET, HEAD"),
        ],
    );
}

#[test]
fn a_catch_all_takes_its_prefix_and_all_below_when_nothing_narrower_fits() {
    let routes =
        table(&["/legacy/**", "/legacy/{x}/y", "/**", "/legacy/a.b/{*rest}", "/{t}/{u}", "/mid/{x}"]);
    check(
        &routes,
        &[
            ("/legacy", "0 **="),
            ("/legacy/", "0 **="),
            ("/legacy/x", "0 **=x"),
            ("/legacy//x/", "0 **=/x/"),
            ("/legacy/a/y", "1 x=a"),
            ("/legacy/a/z", "0 **=a/z"),
            ("/legacy/a.b/c/d", "3 rest=c/d"),
            ("/legacyx", "2 **=legacyx"),
            ("/", "2 **="),
            ("/p/q", "4 t=p u=q"),
            ("/p/q/r", "2 **=p/q/r"),
            ("/p/", "2 **=p/"),
            ("/mid/", "2 **=mid/"),
            ("/mid/1/2/", "2 **=mid/1/2/"),
        ],
    );
}

#[test]
fn parameters_span_segments_where_the_route_says_so() {
    let (routes, _) = compile(vec![
        spanning(spec(0, "POST", "/v1/{topic}:publish"), "topic"),
        spanning(spec(1, "POST", "/v1/{topic}"), "topic"),
        spec(2, "POST", "/v1/{one}"),
        spec(3, "GET", "/{Bucket}"),
        spanning(spec(4, "GET", "/{Bucket}/{Key}"), "Key"),
        spanning(spec(5, "GET", "/{Bucket}/{Key}/parts/{n}.txt"), "Key"),
    ]);
    check(
        &routes,
        &[
            ("POST /v1/projects/p/topics/t:publish", "0 topic=projects/p/topics/t"),
            ("POST /v1/projects/p/topics/t", "1 topic=projects/p/topics/t"),
            ("POST /v1/x:publish", "2 one=x:publish"),
            ("GET /b", "3 Bucket=b"),
            ("GET /b/k/l/", "4 Bucket=b Key=k/l/"),
            ("GET /b/", "404"),
            ("GET /b/k/parts/1/parts/2.txt", "5 Bucket=b Key=k/parts/1 n=2"),
            ("GET /b/k/parts/1/x.txt", "4 Bucket=b Key=k/parts/1/x.txt"),
            ("PUT /b/k/l", "405 GET, HEAD"),
        ],
    );
}

#[test]
fn what_is_no_template_is_refused_with_the_reason() {
    for (text, error) in [
        ("no-slash", TemplateError::NoSlash),
        ("", TemplateError::NoSlash),
        ("/open/{brace", TemplateError::Brace),
        ("/a}", TemplateError::Brace),
        ("/{a{b}}", TemplateError::Brace),
        ("/a?b=c", TemplateError::QueryOrFragment),
        ("/a#b", TemplateError::QueryOrFragment),
        ("/../a", TemplateError::Refused(Refusal::DotSegment)),
        ("/a/%2e", TemplateError::Refused(Refusal::DotSegment)),
        ("/a\\b", TemplateError::Refused(Refusal::Backslash)),
        ("/a%", TemplateError::Refused(Refusal::Escape)),
        ("/a\n", TemplateError::Refused(Refusal::Control)),
        (&"/a".repeat(129), TemplateError::TooManySegments),
        (&"/{a}".repeat(26), TemplateError::TooManyParameters),
    ] {
        assert_eq!(Template::parse(text), Err(error), "{text}");
    }
    assert_eq!(Template::parse_with_tail("/**/a"), Err(TemplateError::TailNotLast));
    assert_eq!(Template::parse_with_tail("/{*a}/**"), Err(TemplateError::TailNotLast));
    for fine in ["/{a}{b}/%C3%BC//x/", "/a/**", "/{*rest}", "/{a/b}", "/{}"] {
        assert_eq!(Template::parse_with_tail(fine).unwrap().to_string(), fine);
    }
    assert_eq!(find(&table(&[&"/{a}".repeat(25), "/**"]), &"/x".repeat(25)).split(' ').count(), 26);
}

/// As many shapes as the largest public description has, many of which overlap.
#[test]
fn a_table_of_14_000_templates_is_compiled_and_found_again() {
    let templates: Vec<String> = (0..14_000)
        .map(|n| match n % 4 {
            0 => format!("/users/{{id}}/set{n}/{{key}}"),
            1 => format!("/{{any}}/set{n}"),
            2 => format!("/users/{{id}}/set{}/child{n}/$count", n - 2),
            _ => format!("/set{n}/{{a}}.json"),
        })
        .collect();
    let routes = table(&templates.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(routes.len(), 14_000);
    for n in 0..14_000 {
        let (request, expected) = match n % 4 {
            0 => (format!("/users/1/set{n}/k"), format!("{n} id=1 key=k")),
            1 => (format!("/set{}/set{n}", n + 2), format!("{n} any=set{}", n + 2)),
            2 => (format!("/users/1/set{}/child{n}/$count", n - 2), format!("{n} id=1")),
            _ => (format!("/set{n}/x.json"), format!("{n} a=x")),
        };
        assert_eq!(find(&routes, &request), expected, "{request}");
    }
}

// ---- the naive matcher ----

struct Naive {
    text: String,
    order: Vec<(u8, u8, Reverse<usize>)>,
    path: Regex,
    literal: bool,
    specs: Vec<RouteSpec>,
}

/// The same specs by the naive rules: grouped by pattern, first of equal routes kept, sorted.
fn naive(specs: &[RouteSpec]) -> Vec<Naive> {
    let mut all: Vec<Naive> = Vec::new();
    for spec in specs {
        let one = naive_pattern(spec);
        let at = all.iter().position(|other| other.text == one.text).unwrap_or_else(|| {
            all.push(one);
            all.len() - 1
        });
        let mut spec = spec.clone();
        spec.conditions.normalise();
        if !all[at].specs.iter().any(|s| s.methods == spec.methods && s.conditions == spec.conditions) {
            all[at].specs.push(spec);
        }
    }
    for one in &mut all {
        one.specs.sort_by_key(|spec| {
            let conditions = || spec.conditions.query.iter().chain(&spec.conditions.header);
            let values = conditions().filter(|(_, value)| value.is_some()).count();
            (Reverse(conditions().count()), Reverse(values), spec.conditions.clone())
        });
    }
    // Whole segments first, then their parts, then the text.
    let whole = |one: &Naive| one.order.iter().map(|part| part.0).collect::<Vec<_>>();
    let parts = |one: &Naive| one.order.iter().map(|part| (part.1, part.2)).collect::<Vec<_>>();
    all.sort_by_key(|one| (whole(one), parts(one), one.text.clone()));
    all
}

fn naive_pattern(spec: &RouteSpec) -> Naive {
    let (mut text, mut path, mut order) = (String::new(), String::from("^"), Vec::new());
    for segment in spec.template.segments() {
        text.push('/');
        path.push('/');
        let (mut kind, mut length, mut plain) = (0, 0, true);
        for part in segment {
            match part {
                Part::Literal(literal) => {
                    text.push_str(literal);
                    path.push_str(&regex::escape(literal));
                    length += literal.len();
                    plain = false;
                }
                Part::Param(name) if spec.spans.contains(name) => {
                    kind = 2;
                    text.push_str("{+}");
                    path.push_str("((?:%..|[^%])+?)");
                }
                Part::Param(_) => {
                    kind = kind.max(1);
                    text.push_str("{}");
                    path.push_str("((?:%..|[^/%])+?)");
                }
            }
        }
        let literal = kind == 0;
        order.push(if literal { (0, 0, Reverse(0)) } else { (kind, u8::from(plain), Reverse(length)) });
    }
    let tail = spec.template.to_string().ends_with("/**");
    if tail {
        text.push_str("/**");
        path.push_str("(?:/(.*))?");
    }
    order.push((if tail { 4 } else { 3 }, 0, Reverse(0)));
    path.push('$');
    Naive {
        text,
        order,
        path: Regex::new(&path).unwrap(),
        literal: spec.template.is_literal(),
        specs: vec![],
    }
}

fn naive_find(
    all: &[Naive],
    method: &Method,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> String {
    let mut allow = Vec::new();
    for one in all {
        let Some(captures) = one.path.captures(path) else { continue };
        let holding: Vec<_> = one.specs.iter().filter(|s| s.conditions.hold(query, headers)).collect();
        let taking = |methods: Methods| holding.iter().find(|s| s.methods == methods);
        let mut route = taking(Methods::One(method.clone()));
        if method == Method::HEAD {
            route = route.or_else(|| taking(Methods::One(Method::GET)));
        }
        if let Some(route) = route.or_else(|| taking(Methods::Any)) {
            let values = captures.iter().skip(1).map(|value| value.map_or("", |value| value.as_str()));
            let params = route.template.names().zip(values).map(|(name, value)| format!(" {name}={value}"));
            return format!("{}{}", route.id, params.collect::<String>());
        }
        for spec in &holding {
            let Methods::One(method) = &spec.methods else { unreachable!() };
            allow.push(method.as_str());
            if method == Method::GET {
                allow.push("HEAD");
            }
        }
        let takes = |s: &RouteSpec| match &s.methods {
            Methods::Any => true,
            Methods::One(own) => own == method || (method == Method::HEAD && own == Method::GET),
        };
        if one.literal && !holding.is_empty() && !one.specs.iter().any(takes) {
            break;
        }
    }
    allow.sort_unstable();
    allow.dedup();
    if allow.is_empty() { "404".into() } else { format!("405 {}", allow.join(", ")) }
}

/// Few words, so that templates meet one another and paths meet templates.
fn templates() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        6 => select(vec!["a", "b", "ab", "", "a.json", "a-b", "a:go", "%20"]),
        6 => select(vec!["{p}", "{q}", "{s}"]),
        4 => select(vec!["{p}.json", "{p}-{q}", "{p}:go", "a{p}", "{p}{q}", "{p}-{q}.json", "{s}:go", "a{s}b", "{s}-{t}", "{p}.{s}"]),
    ];
    (prop::collection::vec(segment, 0..5), select(vec!["", "", "", "/**"])).prop_map(|(segments, tail)| {
        let text: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        if text.is_empty() && tail.is_empty() { "/".into() } else { text + tail }
    })
}

fn specs() -> impl Strategy<Value = Vec<RouteSpec>> {
    let conditions = prop_oneof![
        4 => Just(Conditions::default()),
        1 => select(vec![("x", Some("1")), ("x", None), ("y", Some("1"))]).prop_map(|(name, value)| {
            Conditions { query: vec![(name.to_owned(), value.map(Into::into))], header: vec![] }
        }),
        1 => Just(Conditions { query: vec![("x".into(), None)], header: vec![("H".into(), Some("1".into()))] }),
    ];
    let one = (templates(), select(vec!["GET", "GET", "POST", "HEAD", "*"]), conditions, any::<bool>());
    prop::collection::vec(one, 0..14).prop_map(|all| {
        let numbered = all.into_iter().zip(0..);
        let made = numbered.map(|((template, method, conditions, spans), id)| {
            let spans = if spans { vec!["s".to_owned(), "t".to_owned()] } else { vec![] };
            RouteSpec { conditions, spans, ..spec(id, method, &template) }
        });
        made.collect()
    })
}

fn paths() -> impl Strategy<Value = String> {
    let words =
        vec!["a", "b", "ab", "", "a.json", "a-b", "a:go", "%20", "a-b-a.json", "b.b.json", "axb", "-", ":go"];
    let path = prop::collection::vec(select(words), 1..7);
    path.prop_map(|segments| segments.iter().map(|segment| format!("/{segment}")).collect())
}

fn requests() -> impl Strategy<Value = (Method, Vec<String>, Option<&'static str>, bool)> {
    (
        select(vec![Method::GET, Method::POST, Method::HEAD]),
        prop::collection::vec(paths(), 12),
        select(vec![None, Some("x=1"), Some("x=2"), Some("x=1&y=1")]),
        any::<bool>(),
    )
}

fn outcome(
    routes: &HostRoutes,
    method: &Method,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> String {
    match routes.find(method, path, query, headers) {
        Found::Route { id, params } => {
            let params = params.iter().map(|(name, value)| format!(" {name}={value}"));
            format!("{id}{}", params.collect::<String>())
        }
        Found::MethodNotAllowed { allow } => format!("405 {}", allow.to_str().unwrap()),
        Found::NotFound => "404".into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_table_finds_what_a_naive_matcher_finds(specs in specs(), (method, paths, query, header) in requests()) {
        let mut headers = HeaderMap::new();
        if header {
            headers.insert("h", HeaderValue::from_static("1"));
        }
        let all = naive(&specs);
        let (routes, conflicts) = compile(specs.clone());
        prop_assert_eq!(routes.len() + conflicts.len(), specs.len());
        for path in paths {
            prop_assert_eq!(
                outcome(&routes, &method, &path, query, &headers),
                naive_find(&all, &method, &path, query, &headers),
                "{} {} in {:#?}", method, path,
                specs.iter().map(|s| format!("{} {:?} {}", s.id, s.methods, s.template)).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn the_order_of_declaration_does_not_matter(specs in specs(), (method, paths, query, _) in requests()) {
        let (routes, conflicts) = compile(specs.clone());
        let dropped = |id| conflicts.iter().any(|conflict| conflict.dropped == id);
        let mut kept: Vec<_> = specs.into_iter().filter(|spec| !dropped(spec.id)).collect();
        kept.reverse();
        let (reversed, none) = compile(kept);
        prop_assert_eq!(none, vec![]);
        for path in paths {
            let headers = HeaderMap::new();
            prop_assert_eq!(
                outcome(&routes, &method, &path, query, &headers),
                outcome(&reversed, &method, &path, query, &headers)
            );
        }
    }
}
