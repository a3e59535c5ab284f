//! Cursor pages: `?limit=&cursor=` → `{"data": […], "next_cursor": …}`.
//!
//! A cursor is opaque to the client: it holds the key of the last row it was given, so a page stays right while rows
//! come and go (an offset would not). What a cursor is made of is the database's business; here it only gets in and
//! out. A limit that no page has is refused, not bent: who asks for a million rows should learn that it gets 200.

use crate::problem::{Kind, Problem};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use database::{PAGE_ROWS_MAX, PageRequest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Give this as `cursor` to go on; null on the last page.
    pub next_cursor: Option<String>,
}

/// The parameters of a list that has no filters.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Rows wanted, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl<T> Page<T> {
    /// The page of the database with every row in its public shape.
    pub fn of<R>(page: database::Page<R>, shape: impl FnMut(R) -> T) -> Page<T> {
        Page { data: page.rows.into_iter().map(shape).collect(), next_cursor: page.next }
    }
}

impl PageQuery {
    pub fn request(&self) -> Result<PageRequest, Problem> {
        request(self.limit, self.cursor.as_deref())
    }
}

/// For lists that have filters beside the two parameters.
pub fn request(limit: Option<u32>, cursor: Option<&str>) -> Result<PageRequest, Problem> {
    if limit.is_some_and(|limit| !(1..=PAGE_ROWS_MAX).contains(&limit)) {
        return Err(Problem::new(Kind::InvalidParameter, format!("limit must be from 1 to {PAGE_ROWS_MAX}")));
    }
    // Some clients send what they do not have yet as nothing.
    PageRequest::new(limit, cursor.filter(|cursor| !cursor.is_empty())).map_err(|_| not_its_cursor())
}

pub fn not_its_cursor() -> Problem {
    Problem::new(Kind::InvalidParameter, "cursor is not one that this list gave")
}

/// The query string as a type; an unknown or unusable parameter is a problem, never ignored.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query<T>, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        // In every query the escape stands for the octet. PostgreSQL has no text with it, so it would be a bug there.
        if query.contains("%00") {
            return Err(Problem::new(Kind::InvalidParameter, "no parameter has a NUL"));
        }
        read_query(query).map(Query).ok_or_else(|| Problem::new(Kind::InvalidParameter, fault_of::<T>(query)))
    }
}

/// What a value of these parameters must be; the others are any text here and checked by their handler.
const PARAMETERS: &[(&str, &str)] = &[
    ("limit", "a whole number from 1 to 200"),
    ("since", "a time as RFC 3339 writes it, such as 2026-11-23T09:14:09Z"),
    ("until", "a time as RFC 3339 writes it, such as 2026-11-23T09:14:09Z"),
];

fn read_query<T: DeserializeOwned>(query: &str) -> Option<T> {
    let uri = axum::http::Uri::builder().path_and_query(format!("/?{query}")).build().ok()?;
    axum::extract::Query::<T>::try_from_uri(&uri).ok().map(|axum::extract::Query(query)| query)
}

/// The names of a query, decoded, in their order. None if it cannot be read.
pub fn names(query: &str) -> Option<Vec<String>> {
    let pairs: Vec<(String, String)> = read_query(query)?;
    Some(pairs.into_iter().map(|(name, _)| name).collect())
}

/// No parameter needs another one, so the wrong one is wrong alone.
fn fault_of<T: DeserializeOwned>(query: &str) -> String {
    let name_of = |pair: &str| names(pair).and_then(|mut names| names.pop()).unwrap_or_default();
    let pairs = || query.split('&').filter(|pair| !pair.is_empty());
    if let Some(wrong) = pairs().find(|pair| read_query::<T>(pair).is_none()) {
        let name = name_of(wrong);
        return match PARAMETERS.iter().find(|(known, _)| *known == name) {
            Some((_, wanted)) => format!("{name} must be {wanted}"),
            None => format!("there is no parameter {name} here"),
        };
    }
    let twice = pairs().map(name_of).find(|name| pairs().filter(|pair| name_of(pair) == *name).count() > 1);
    twice.map_or_else(
        || "the query string cannot be read".to_owned(),
        |name| format!("{name} is given more than once"),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_or_cursor_that_we_did_not_give_is_refused() {
        for (limit, cursor) in [(Some(0), None), (Some(201), None), (None, Some("x")), (None, Some("AAAA"))] {
            assert_eq!(request(limit, cursor).unwrap_err().code(), "invalid_parameter");
        }
        assert!(request(Some(200), None).is_ok());
    }

    #[test]
    fn a_wrong_parameter_is_named_in_our_own_words() {
        for (query, words) in [
            ("limit=x", "limit must be a whole number from 1 to 200"),
            ("limit=-1", "limit must be a whole number from 1 to 200"),
            ("cursor=a&sort%5B=up", "there is no parameter sort[ here"),
            ("limit=1&limit=2", "limit is given more than once"),
        ] {
            assert!(read_query::<PageQuery>(query).is_none(), "{query}");
            assert_eq!(fault_of::<PageQuery>(query), words, "{query}");
        }
        assert!(
            read_query::<PageQuery>("limit=5&cursor=").is_some() && read_query::<PageQuery>("").is_some()
        );
    }
}
