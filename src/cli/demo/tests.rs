//! The bookshop keeps what its description promises.

use axum::{
    body::Body,
    http::{Request, Response},
};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

async fn send(shop: &Router, method: &str, path: &str, body: &str) -> (u16, HeaderMap, serde_json::Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let (parts, body) = shop.clone().oneshot(request).await.map(Response::into_parts).unwrap();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn a_page_names_the_next_one_until_the_last() {
    let shop = upstream();
    let (status, headers, page) = send(&shop, "GET", "/books?limit=5&offset=5", "").await;
    assert_eq!(
        (status, &page["total"], &page["next"]),
        (200, &12.into(), &"/books?offset=10&limit=5".into())
    );
    assert_eq!(headers["cache-control"], "public, max-age=30");
    let (_, _, last) = send(&shop, "GET", "/books?limit=5&offset=10", "").await;
    assert_eq!((last["books"].as_array().unwrap().len(), last.get("next")), (2, None));
}

#[tokio::test]
async fn books_are_found_by_genre_and_words() {
    let (_, _, page) = send(&upstream(), "GET", "/books?genre=novel&q=BRONT%C3%8B", "").await;
    let titles: Vec<_> = page["books"].as_array().unwrap().iter().map(|book| &book["title"]).collect();
    assert_eq!(titles, ["Jane Eyre", "Wuthering Heights"]);
}

#[tokio::test]
async fn a_book_that_is_known_is_not_sent_again_until_it_sells() {
    let shop = upstream();
    let (_, headers, _) = send(&shop, "GET", "/books/9780141439518", "").await;
    let conditional = || {
        let request = Request::get("/books/9780141439518")
            .header("if-none-match", &headers["etag"])
            .body(Body::empty())
            .unwrap();
        shop.clone().oneshot(request)
    };
    assert_eq!(conditional().await.unwrap().status(), 304);
    let order = r#"{"lines":[{"isbn":"9780141439518","copies":1}]}"#;
    assert_eq!(send(&shop, "POST", "/orders", order).await.0, 201);
    assert_eq!(conditional().await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_order_of_too_many_copies_changes_nothing() {
    let shop = upstream();
    let order = r#"{"lines":[{"isbn":"9780141439518","copies":7},{"isbn":"9780141439518","copies":7}]}"#;
    assert_eq!(send(&shop, "POST", "/orders", order).await.0, 409);
    let (_, _, book) = send(&shop, "GET", "/books/9780141439518", "").await;
    assert_eq!(book["stock"], Book::FIRST_STOCK);
    assert_eq!(send(&shop, "GET", "/orders/1", "").await.0, 404);
}

#[tokio::test]
async fn a_new_book_must_be_whole_and_new() {
    let shop = upstream();
    let book = r#"{"isbn":"9780141439549","title":"Middlemarch","author":"George Eliot","genre":"novel","year":1871,"price":1299}"#;
    let (status, headers, _) = send(&shop, "POST", "/books", book).await;
    assert_eq!((status, headers["location"].to_str().unwrap()), (201, "/books/9780141439549"));
    assert_eq!(send(&shop, "POST", "/books", book).await.0, 409);
    assert_eq!(send(&shop, "POST", "/books", &book.replace("439549", "439540")).await.0, 422);
    let (status, _, error) = send(&shop, "POST", "/books", "{").await;
    assert!(status == 422 && error["error"].is_string());
}

#[tokio::test]
async fn each_quotation_is_another_and_not_to_be_stored() {
    let shop = upstream();
    let (_, headers, first) = send(&shop, "GET", "/quote", "").await;
    let (_, _, second) = send(&shop, "GET", "/quote", "").await;
    assert_ne!(first["text"], second["text"]);
    assert_eq!(headers["cache-control"], "no-store");
}

#[tokio::test]
async fn sales_are_streamed_as_events() {
    let request = Request::get("/events?count=2").body(Body::empty()).unwrap();
    let response = upstream().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap();
    assert_eq!(text.matches("event: sale\n").count(), 2);
}

#[test]
fn every_book_of_the_shelf_has_a_right_isbn() {
    assert!(SHELF.iter().all(|row| is_isbn(row.0)));
    assert!(!is_isbn("9780141439519") && !is_isbn("978014143951X") && !is_isbn(""));
}
