//! Pages: a limit and a cursor that names the last row seen, so that new rows never shift a page.
//!
//! A cursor is opaque text (base64url of the letter of its list, and an id or a number): what one list gave, another does
//! not take, for it would begin anywhere. It is not a secret and carries no rights: every page is
//! read within the scope of whoever asks. One row more than asked for tells whether there is a next page.

use crate::error::Fault;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio_postgres::Row;
use uuid::Uuid;

/// Rows of a page, at most.
pub const PAGE_ROWS_MAX: u32 = 200;
/// Rows of a page, unless the caller asks for fewer or more.
pub const PAGE_ROWS_DEFAULT: u32 = 50;

/// What part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    limit: u32,
    last: Option<Vec<u8>>,
}

/// Which list a cursor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    ApiKeys,
    Audit,
    Credentials,
    Deliveries,
    Domains,
    Endpoints,
    Events,
    Messages,
    Pools,
    Sources,
    Streams,
    Tenants,
    Users,
}

impl List {
    const fn letter(self) -> u8 {
        match self {
            List::ApiKeys => b'k',
            List::Audit => b'a',
            List::Credentials => b'c',
            List::Deliveries => b'v',
            List::Domains => b'd',
            List::Endpoints => b'w',
            List::Events => b'e',
            List::Messages => b'm',
            List::Pools => b'p',
            List::Sources => b'o',
            List::Streams => b's',
            List::Tenants => b't',
            List::Users => b'u',
        }
    }
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
    /// `limit` counts rows: `PAGE_ROWS_DEFAULT` if there is none, at least 1, at most `PAGE_ROWS_MAX`.
    /// `cursor` is the `next` of the page before; none begins the list.
    ///
    /// # Errors
    /// `Invalid` for a cursor of a form that none of ours has. One that another list made is refused where
    /// this list is read.
    pub fn new(limit: Option<u32>, cursor: Option<&str>) -> Result<PageRequest, Fault> {
        let last = match cursor {
            None => None,
            Some(text) => {
                let octets = URL_SAFE_NO_PAD.decode(text).map_err(|_| not_ours())?;
                if octets.len() != 1 + 8 && octets.len() != 1 + 16 {
                    return Err(not_ours());
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
    pub(crate) fn before_id(&self, list: List) -> Result<Uuid, Fault> {
        let id = self.last::<16>(list)?.map(Uuid::from_bytes);
        Ok(id.unwrap_or(Uuid::max()))
    }

    /// For lists by number, newest first: `n < this`.
    pub(crate) fn before_number(&self, list: List) -> Result<i64, Fault> {
        Ok(self.last(list)?.map_or(i64::MAX, i64::from_be_bytes))
    }

    /// For lists by number, oldest first: `n > this`.
    pub(crate) fn after_number(&self, list: List) -> Result<i64, Fault> {
        Ok(self.last(list)?.map_or(0, i64::from_be_bytes))
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

    /// What this list has put into its cursor.
    fn last<const OCTETS: usize>(&self, list: List) -> Result<Option<[u8; OCTETS]>, Fault> {
        let Some(last) = &self.last else { return Ok(None) };
        let own = last.split_first().filter(|(letter, _)| **letter == list.letter());
        let octets = own.and_then(|(_, octets)| octets.try_into().ok());
        octets.map(Some).ok_or_else(not_ours)
    }
}

pub(crate) fn id_cursor(list: List, id: Uuid) -> String {
    cursor(list, id.as_bytes())
}

pub(crate) fn number_cursor(list: List, number: i64) -> String {
    cursor(list, &number.to_be_bytes())
}

fn cursor(list: List, octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([&[list.letter()], octets].concat())
}

fn not_ours() -> Fault {
    Fault::Invalid { field: "cursor", reason: "use next_cursor of the page before".to_owned() }
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
    fn a_cursor_of_one_list_is_refused_by_every_other() {
        use List::*;
        let lists = [
            ApiKeys,
            Audit,
            Credentials,
            Deliveries,
            Domains,
            Endpoints,
            Events,
            Messages,
            Pools,
            Sources,
            Streams,
            Tenants,
            Users,
        ];
        for given in lists {
            let page = |cursor: &str| PageRequest::new(None, Some(cursor)).ok();
            let (id, number) = (page(&id_cursor(given, Uuid::max())), page(&number_cursor(given, 7)));
            let (Some(id), Some(number)) = (id, number) else { panic!("{given:?} does not take its own") };
            for taken in lists {
                assert_eq!(id.before_id(taken).is_ok(), given == taken, "{given:?} {taken:?}");
                assert_eq!(number.after_number(taken).is_ok(), given == taken, "{given:?} {taken:?}");
                assert!(id.before_number(taken).is_err() && number.before_id(taken).is_err());
            }
        }
    }

    #[test]
    fn the_limit_is_bounded() {
        let fetch = |limit| PageRequest::new(limit, None).map(|page| page.fetch()).unwrap_or(0);
        assert_eq!((fetch(Some(0)), fetch(Some(7)), fetch(Some(100_000)), fetch(None)), (2, 8, 201, 51));
    }
}
