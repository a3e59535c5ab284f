//! Pages: a limit and a cursor that names the last row seen, so that new rows never shift a page.
//!
//! A cursor is opaque text (base64url of an id or a number). It is not a secret and carries no rights: every page is
//! read within the scope of whoever asks. One row more than asked for tells whether there is a next page.

use crate::error::Fault;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio_postgres::Row;
use uuid::Uuid;

/// Rows of a page.
pub const PAGE_ROWS_MAX: u32 = 200;
/// Rows of a page, unless the caller asks for fewer or more.
pub const PAGE_ROWS_DEFAULT: u32 = 50;

/// What part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    limit: u32,
    last: Option<Vec<u8>>,
}

/// A part of a list, and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub rows: Vec<T>,
    /// What to ask for next; none at the end.
    pub next: Option<String>,
}

impl PageRequest {
    /// `limit` is cut to `PAGE_ROWS_MAX`; a cursor that we did not make is `Fault::Invalid`.
    pub fn new(limit: Option<u32>, cursor: Option<&str>) -> Result<PageRequest, Fault> {
        let invalid =
            || Fault::Invalid { field: "cursor", reason: "use next_cursor of the page before".to_owned() };
        let last = match cursor {
            None => None,
            Some(text) => {
                let octets = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
                if octets.len() != 8 && octets.len() != 16 {
                    return Err(invalid());
                }
                Some(octets)
            }
        };
        Ok(PageRequest { limit: limit.unwrap_or(PAGE_ROWS_DEFAULT).clamp(1, PAGE_ROWS_MAX), last })
    }

    /// The first page, of the usual size.
    pub fn first() -> PageRequest {
        PageRequest { limit: PAGE_ROWS_DEFAULT, last: None }
    }

    pub(crate) fn fetch(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// For lists by id, newest first: `id < this`.
    pub(crate) fn before_id(&self) -> Uuid {
        self.last.as_deref().and_then(|octets| Uuid::from_slice(octets).ok()).unwrap_or(Uuid::max())
    }

    /// For lists by number, newest first: `n < this`.
    pub(crate) fn before_number(&self) -> i64 {
        self.number().unwrap_or(i64::MAX)
    }

    /// For lists by number, oldest first: `n > this`.
    pub(crate) fn after_number(&self) -> i64 {
        self.number().unwrap_or(0)
    }

    pub(crate) fn id_cursor(&self, id: Uuid) -> String {
        URL_SAFE_NO_PAD.encode(id.as_bytes())
    }

    pub(crate) fn number_cursor(&self, number: i64) -> String {
        URL_SAFE_NO_PAD.encode(number.to_be_bytes())
    }

    /// Turns the rows into a page; `cursor` names the last row of it.
    pub(crate) fn finish<T>(
        &self,
        rows: Vec<Row>,
        from: impl Fn(&Row) -> Result<T, Fault>,
        cursor: impl Fn(&T) -> String,
    ) -> Result<Page<T>, Fault> {
        let limit = self.limit as usize;
        let more = rows.len() > limit;
        let rows = rows.iter().take(limit).map(from).collect::<Result<Vec<T>, Fault>>()?;
        let next = if more { rows.last().map(cursor) } else { None };
        Ok(Page { rows, next })
    }

    fn number(&self) -> Option<i64> {
        Some(i64::from_be_bytes(self.last.as_deref()?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_is_not_ours_is_refused() {
        for text in ["", "!", "AAAA", "a b"] {
            assert!(
                matches!(PageRequest::new(None, Some(text)), Err(Fault::Invalid { field: "cursor", .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn the_limit_is_bounded() {
        let fetch = |limit| PageRequest::new(limit, None).map(|page| page.fetch()).unwrap_or(0);
        assert_eq!((fetch(Some(0)), fetch(Some(7)), fetch(Some(100_000)), fetch(None)), (2, 8, 201, 51));
    }
}
