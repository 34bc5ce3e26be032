//! The upstream of `gatewright demo`: a bookshop that answers as its description says.
//!
//! Lives in memory, starts the same each time, and bounds all it keeps. It is an ordinary upstream: it
//! knows nothing of the gateway before it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::JsonRejection},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::get,
};
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};

/// The description that the demo's gateway runs.
pub const DESCRIPTION: &str = include_str!("../../openapi/bookshop.yaml");

const MAX_BOOKS: usize = 500;
const MAX_REVIEWS: usize = 50;
const MAX_ORDERS: usize = 1000;
const MAX_BODY: usize = 64 * 1024;

/// The bookshop, ready to be served on a loopback port.
pub fn upstream() -> Router {
    Router::new()
        .route("/books", get(list_books).post(add_book))
        .route("/books/{isbn}", get(get_book))
        .route("/books/{isbn}/reviews", get(list_reviews).post(add_review))
        .route("/orders", axum::routing::post(place_order))
        .route("/orders/{id}", get(get_order))
        .route("/quote", get(quote))
        .route("/slow", get(slow))
        .route("/events", get(events))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Shared(Arc::new(Mutex::new(Shop::stocked()))))
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Shop>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Shop> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that the shop knows.
struct Shop {
    /// Sorted by title.
    books: Vec<Shelved>,
    orders: Vec<Order>,
    quotes_told: usize,
}

struct Shelved {
    book: Book,
    reviews: Vec<Review>,
    quote: Option<&'static str>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Book {
    isbn: String,
    title: String,
    author: String,
    genre: Genre,
    year: u16,
    /// In cents.
    price: u32,
    /// Copies on the shelf; a new book comes with [`Book::FIRST_STOCK`].
    #[serde(default, skip_deserializing)]
    stock: u32,
}

impl Book {
    const FIRST_STOCK: u32 = 12;
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Genre {
    Novel,
    Horror,
    Adventure,
    Poetry,
    Essay,
}

#[derive(Clone, Serialize, Deserialize)]
struct Review {
    stars: u8,
    text: String,
}

#[derive(Deserialize)]
struct NewOrder {
    lines: Vec<Line>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Line {
    isbn: String,
    copies: u32,
}

#[derive(Clone, Serialize)]
struct Order {
    id: usize,
    lines: Vec<Line>,
    /// In cents.
    total: u64,
}

/// What the shop answers when it does not do what was asked.
struct Refusal(StatusCode, &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

impl From<JsonRejection> for Refusal {
    fn from(_: JsonRejection) -> Self {
        Self(StatusCode::UNPROCESSABLE_ENTITY, "the body is not the JSON that the description asks for")
    }
}

const NO_SUCH_BOOK: Refusal = Refusal(StatusCode::NOT_FOUND, "no book has this ISBN");

type Body<T> = Result<Json<T>, JsonRejection>;

#[derive(Deserialize)]
struct Filter {
    genre: Option<Genre>,
    q: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
}

async fn list_books(State(shop): State<Shared>, Query(filter): Query<Filter>) -> Response {
    let (limit, offset) = (filter.limit.unwrap_or(10).clamp(1, 50), filter.offset.unwrap_or(0));
    let words = filter.q.unwrap_or_default().to_lowercase();
    let shop = shop.lock();
    let found: Vec<&Book> = shop
        .books
        .iter()
        .map(|shelved| &shelved.book)
        .filter(|book| filter.genre.is_none_or(|genre| book.genre == genre))
        .filter(|book| [&book.title, &book.author].iter().any(|text| text.to_lowercase().contains(&words)))
        .collect();
    let books: Vec<_> = found.iter().skip(offset).take(limit).collect();
    let mut page = serde_json::json!({ "books": books, "total": found.len() });
    let next = offset.saturating_add(limit);
    if next < found.len() {
        page["next"] = format!("/books?offset={next}&limit={limit}").into();
    }
    ([(header::CACHE_CONTROL, "public, max-age=30")], Json(page)).into_response()
}

async fn add_book(State(shop): State<Shared>, body: Body<Book>) -> Result<Response, Refusal> {
    let Json(book) = body?;
    let sized = |text: &str| !text.is_empty() && text.len() <= 200;
    if !is_isbn(&book.isbn) || !sized(&book.title) || !sized(&book.author) || book.year > 2100 {
        return Err(Refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "a book needs an ISBN-13 whose check digit is right, a title, an author and a year",
        ));
    }
    let mut shop = shop.lock();
    if shop.find(&book.isbn).is_some() {
        return Err(Refusal(StatusCode::CONFLICT, "a book with this ISBN stands on the shelf"));
    }
    if shop.books.len() >= MAX_BOOKS {
        return Err(Refusal(StatusCode::CONFLICT, "the shelf is full"));
    }
    let book = Book { stock: Book::FIRST_STOCK, ..book };
    let place = [(header::LOCATION, format!("/books/{}", book.isbn))];
    shop.put(Shelved { book: book.clone(), reviews: Vec::new(), quote: None });
    Ok((StatusCode::CREATED, place, Json(book)).into_response())
}

async fn get_book(
    State(shop): State<Shared>,
    Path(isbn): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let shop = shop.lock();
    let book = &shop.find(&isbn).ok_or(NO_SUCH_BOOK)?.book;
    let tag = format!("\"{isbn}-{}\"", book.stock);
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| matches!(known.trim().trim_start_matches("W/"), known if known == tag || known == "*"));
    let fields = [(header::ETAG, tag), (header::CACHE_CONTROL, "public, max-age=60".to_owned())];
    Ok(match known {
        true => (StatusCode::NOT_MODIFIED, fields).into_response(),
        false => (fields, Json(book)).into_response(),
    })
}

async fn list_reviews(State(shop): State<Shared>, Path(isbn): Path<String>) -> Result<Response, Refusal> {
    Ok(Json(&shop.lock().find(&isbn).ok_or(NO_SUCH_BOOK)?.reviews).into_response())
}

async fn add_review(
    State(shop): State<Shared>,
    Path(isbn): Path<String>,
    body: Body<Review>,
) -> Result<Response, Refusal> {
    let Json(review) = body?;
    if !(1..=5).contains(&review.stars) || review.text.is_empty() || review.text.len() > 500 {
        return Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, "a review has 1 to 5 stars and some words"));
    }
    let mut shop = shop.lock();
    let reviews = &mut shop.find_mut(&isbn).ok_or(NO_SUCH_BOOK)?.reviews;
    if reviews.len() >= MAX_REVIEWS {
        reviews.remove(0);
    }
    reviews.push(review.clone());
    Ok((StatusCode::CREATED, Json(review)).into_response())
}

async fn place_order(State(shop): State<Shared>, body: Body<NewOrder>) -> Result<Response, Refusal> {
    let Json(NewOrder { lines }) = body?;
    if !(1..=20).contains(&lines.len()) || lines.iter().any(|line| !(1..=100).contains(&line.copies)) {
        return Err(Refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "an order has 1 to 20 lines of 1 to 100 copies each",
        ));
    }
    let mut shop = shop.lock();
    let mut total = 0;
    for line in &lines {
        let book = &shop.find(&line.isbn).ok_or(NO_SUCH_BOOK)?.book;
        let wanted: u32 = lines.iter().filter(|other| other.isbn == line.isbn).map(|line| line.copies).sum();
        if wanted > book.stock {
            return Err(Refusal(StatusCode::CONFLICT, "fewer copies are left than you want"));
        }
        total += u64::from(book.price) * u64::from(line.copies);
    }
    if shop.orders.len() >= MAX_ORDERS {
        return Err(Refusal(StatusCode::CONFLICT, "the order book is full"));
    }
    for line in &lines {
        shop.find_mut(&line.isbn).ok_or(NO_SUCH_BOOK)?.book.stock -= line.copies;
    }
    let order = Order { id: shop.orders.len() + 1, lines, total };
    shop.orders.push(order.clone());
    let place = [(header::LOCATION, format!("/orders/{}", order.id))];
    Ok((StatusCode::CREATED, place, Json(order)).into_response())
}

async fn get_order(State(shop): State<Shared>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let shop = shop.lock();
    let index = id.parse::<usize>().ok().and_then(|id| id.checked_sub(1));
    let order = index
        .and_then(|index| shop.orders.get(index))
        .ok_or(Refusal(StatusCode::NOT_FOUND, "no order has this number"))?;
    Ok(([(header::CACHE_CONTROL, "private, max-age=60")], Json(order)).into_response())
}

async fn quote(State(shop): State<Shared>) -> Response {
    let mut shop = shop.lock();
    let told = shop.quotes_told;
    shop.quotes_told = told.wrapping_add(1);
    let quotable: Vec<_> = shop.books.iter().filter_map(|shelved| Some((shelved.quote?, shelved))).collect();
    let (text, shelved) = quotable[told % quotable.len()];
    let body = serde_json::json!({ "text": text, "book": shelved.book.title });
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

#[derive(Deserialize)]
struct Wait {
    seconds: Option<f64>,
}

async fn slow(Query(wait): Query<Wait>) -> Response {
    let seconds = wait.seconds.unwrap_or(2.0).clamp(0.0, 30.0);
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    Json(serde_json::json!({ "waited": seconds })).into_response()
}

#[derive(Deserialize)]
struct Watch {
    count: Option<usize>,
}

async fn events(State(shop): State<Shared>, Query(watch): Query<Watch>) -> Response {
    let count = watch.count.unwrap_or(10).clamp(1, 100);
    // A buffering proxy before the gateway is asked not to.
    ([(HeaderName::from_static("x-accel-buffering"), "no")], Sse::new(sales(shop, count))).into_response()
}

/// Two sales a second, one book after the other.
fn sales(shop: Shared, count: usize) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold((shop, 0), move |(shop, sold)| async move {
        if sold == count {
            return None;
        }
        if sold > 0 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let data = {
            let shop = shop.lock();
            let book = &shop.books[sold % shop.books.len()].book;
            serde_json::json!({ "isbn": book.isbn, "title": book.title }).to_string()
        };
        let event = Event::default().event("sale").id((sold + 1).to_string()).data(data);
        Some((Ok(event), (shop, sold + 1)))
    })
}

/// Thirteen digits, the last of which makes the weighted sum a multiple of ten.
fn is_isbn(text: &str) -> bool {
    let digits = text.bytes().map(|byte| u32::from(byte.wrapping_sub(b'0')));
    let sum: u32 = digits.enumerate().map(|(i, digit)| if i % 2 == 0 { digit } else { 3 * digit }).sum();
    text.len() == 13
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.starts_with("978") || text.starts_with("979"))
        && sum.is_multiple_of(10)
}

impl Shop {
    fn stocked() -> Self {
        let mut shop = Self { books: Vec::new(), orders: Vec::new(), quotes_told: 0 };
        for (isbn, title, author, genre, year, price, quote) in SHELF {
            let (isbn, title, author) = ((*isbn).into(), (*title).into(), (*author).into());
            let (genre, year, price) = (*genre, *year, *price);
            let book = Book { isbn, title, author, genre, year, price, stock: Book::FIRST_STOCK };
            let reviews = vec![Review { stars: 5, text: "Reads as well as on the first day.".into() }];
            shop.put(Shelved { book, reviews, quote: Some(quote) });
        }
        shop
    }

    fn put(&mut self, shelved: Shelved) {
        let at = self.books.partition_point(|other| other.book.title < shelved.book.title);
        self.books.insert(at, shelved);
    }

    fn find(&self, isbn: &str) -> Option<&Shelved> {
        self.books.iter().find(|shelved| shelved.book.isbn == isbn)
    }

    fn find_mut(&mut self, isbn: &str) -> Option<&mut Shelved> {
        self.books.iter_mut().find(|shelved| shelved.book.isbn == isbn)
    }
}

type Row = (&'static str, &'static str, &'static str, Genre, u16, u32, &'static str);

#[rustfmt::skip]
const SHELF: &[Row] = &[
    ("9780141439518", "Pride and Prejudice", "Jane Austen", Genre::Novel, 1813, 899, "I declare after all there is no enjoyment like reading!"),
    ("9780141439471", "Frankenstein", "Mary Shelley", Genre::Horror, 1818, 799, "Beware; for I am fearless, and therefore powerful."),
    ("9780140449266", "The Count of Monte Cristo", "Alexandre Dumas", Genre::Adventure, 1844, 1499, "All human wisdom is contained in these two words: wait and hope."),
    ("9780141441146", "Jane Eyre", "Charlotte Brontë", Genre::Novel, 1847, 899, "I am no bird; and no net ensnares me."),
    ("9780141439556", "Wuthering Heights", "Emily Brontë", Genre::Novel, 1847, 799, "Whatever our souls are made of, his and mine are the same."),
    ("9780142437247", "Moby-Dick", "Herman Melville", Genre::Adventure, 1851, 1199, "Call me Ishmael."),
    ("9780140390445", "Walden", "Henry David Thoreau", Genre::Essay, 1854, 999, "Simplify, simplify."),
    ("9780140424515", "Leaves of Grass", "Walt Whitman", Genre::Poetry, 1855, 1099, "I am large, I contain multitudes."),
    ("9780141439600", "A Tale of Two Cities", "Charles Dickens", Genre::Novel, 1859, 899, "It was the best of times, it was the worst of times."),
    ("9780140449136", "Crime and Punishment", "Fyodor Dostoevsky", Genre::Novel, 1866, 1299, "To go wrong in one's own way is better than to go right in someone else's."),
    ("9780141321004", "Treasure Island", "Robert Louis Stevenson", Genre::Adventure, 1883, 699, "Fifteen men on the dead man's chest!"),
    ("9780141439846", "Dracula", "Bram Stoker", Genre::Horror, 1897, 899, "Listen to them, the children of the night. What music they make!"),
];

#[cfg(test)]
mod tests;
