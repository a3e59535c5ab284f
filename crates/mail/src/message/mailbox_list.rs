//! The mailbox-list of a From field (RFC 5322 §3.4), strictly: one reading or none.
//!
//! Accepts `a@b.example`, `Anna Example <a@b.example>`, `"Example, Anna" <a@b.example>`, comments around a mailbox,
//! UTF-8 (RFC 6532), encoded words (left as they are) and dots in an unquoted name, which everybody writes. Refuses
//! groups, routes, empty elements, comments, quotes or spaces inside an address, a second address in one element, and
//! everything else that makes two programs see two authors (`mail/tests/readers.rs` asks four of them). Of To,
//! Cc and Bcc only a raw call without recipients is held to it (`api/src/draft.rs`), because it sends to whom they name; the
//! doors leave them alone, since the envelope decides.

use crate::{AddressError, Mailbox};

/// Mailboxes in one field; a From of more is an attack on somebody's parser.
pub const MAILBOXES_MAX: usize = 32;
/// How deep comments may nest.
const COMMENT_DEPTH_MAX: usize = 8;

/// Why a mailbox-list is refused. The sentences are public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum MailboxListError {
    #[error("it is empty or has an empty element")]
    Empty,
    #[error("it is not UTF-8 or has a control character")]
    BadText,
    #[error("a group of addresses is not accepted")]
    Group,
    #[error("a comment or a quoted text does not end or is nested too deeply")]
    Unterminated,
    #[error("angle brackets, names and addresses are in no order that can be understood")]
    Structure,
    #[error("it has too many addresses")]
    TooMany,
    /// Right by RFC 5322 §3.4.1, and read by some as another address: in `"a@b.example"@c.example` they find two.
    #[error("an address with quotes before the @ is read differently by different programs")]
    Quoted,
    #[error("{0}")]
    Address(#[from] AddressError),
}

/// Parses an unfolded field value.
///
/// # Errors
/// The first thing that has two readings, as the cases of [`MailboxListError`] say it: `TooMany` for more
/// than [`MAILBOXES_MAX`], `Address` for a mailbox that [`Mailbox::parse`] refuses.
pub fn parse(value: &[u8]) -> Result<Vec<Mailbox>, MailboxListError> {
    let text = std::str::from_utf8(value).map_err(|_| MailboxListError::BadText)?;
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(MailboxListError::BadText);
    }
    let mut mailboxes = Vec::new();
    let mut cursor = Cursor { rest: text };
    loop {
        if mailboxes.len() == MAILBOXES_MAX {
            return Err(MailboxListError::TooMany);
        }
        mailboxes.push(element(&mut cursor)?);
        match cursor.take() {
            None => return Ok(mailboxes),
            Some(',') => {}
            Some(_) => return Err(MailboxListError::Structure),
        }
    }
}

/// What stands between separators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// A run of characters without special meaning; may hold `.` and `@`.
    Word(&'a str),
    /// A quoted string with its quotes.
    Quoted(&'a str),
    /// The inside of `<…>`.
    Angle(&'a str),
}

/// One mailbox, up to a comma or the end: either `name <address>` or an address whose pieces touch each other
/// (`"a b"@c.example` has two).
fn element(cursor: &mut Cursor<'_>) -> Result<Mailbox, MailboxListError> {
    let mut name = Vec::new();
    let mut pieces_touch = true;
    let mut angle = None;
    loop {
        let separated = cursor.skip_comments_and_space()?;
        let Some(token) = cursor.token()? else { break };
        match token {
            _ if angle.is_some() => return Err(MailboxListError::Structure),
            Token::Angle(inside) => angle = Some(inside),
            Token::Word(text) | Token::Quoted(text) => {
                pieces_touch &= name.is_empty() || !separated;
                name.push(match token {
                    Token::Word(_) => (text, text.contains('@')),
                    Token::Quoted(_) | Token::Angle(_) => (text, false),
                });
            }
        }
    }
    match angle {
        // An @ in an unquoted name is a second address to a lenient reader.
        Some(_) if name.iter().any(|(_, has_at)| *has_at) => Err(MailboxListError::Structure),
        Some(inside) => unquoted(inside.trim_matches([' ', '\t'])),
        None if name.is_empty() => Err(MailboxListError::Empty),
        None if !pieces_touch => Err(MailboxListError::Structure),
        None => unquoted(&name.iter().map(|(text, _)| *text).collect::<String>()),
    }
}

fn unquoted(text: &str) -> Result<Mailbox, MailboxListError> {
    let mailbox = Mailbox::parse(text)?;
    if mailbox.local_part().as_str().starts_with('"') {
        return Err(MailboxListError::Quoted);
    }
    Ok(mailbox)
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn take(&mut self) -> Option<char> {
        let first = self.rest.chars().next()?;
        self.rest = &self.rest[first.len_utf8()..];
        Some(first)
    }

    /// Whether there was anything to skip.
    fn skip_comments_and_space(&mut self) -> Result<bool, MailboxListError> {
        let before = self.rest.len();
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t']);
            if !self.rest.starts_with('(') {
                return Ok(self.rest.len() != before);
            }
            self.skip_comment()?;
        }
    }

    /// RFC 5322 §3.2.2; comments nest.
    fn skip_comment(&mut self) -> Result<(), MailboxListError> {
        let mut depth = 0;
        let mut escaped = false;
        while let Some(c) = self.take() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '(' if depth == COMMENT_DEPTH_MAX => break,
                '(' => depth += 1,
                ')' if depth == 1 => return Ok(()),
                ')' => depth -= 1,
                _ => {}
            }
        }
        Err(MailboxListError::Unterminated)
    }

    /// The next token; none at a comma or at the end, which stay where they are.
    fn token(&mut self) -> Result<Option<Token<'a>>, MailboxListError> {
        let start = self.rest;
        let Some(first) = start.chars().next() else { return Ok(None) };
        let (token, length) = match first {
            ',' => return Ok(None),
            ':' | ';' => return Err(MailboxListError::Group),
            ')' | '>' | '\\' => return Err(MailboxListError::Structure),
            '"' => {
                let length = quoted_length(start).ok_or(MailboxListError::Unterminated)?;
                (Token::Quoted(&start[..length]), length)
            }
            '<' => {
                let length = angle_length(start).ok_or(MailboxListError::Structure)?;
                (Token::Angle(&start[1..length - 1]), length)
            }
            _ => {
                let length = start.find(is_special).unwrap_or(start.len());
                (Token::Word(&start[..length]), length)
            }
        };
        self.rest = &start[length..];
        Ok(Some(token))
    }
}

fn is_special(c: char) -> bool {
    matches!(c, ' ' | '\t' | ',' | ':' | ';' | '(' | ')' | '<' | '>' | '"' | '\\')
}

/// Length of the quoted string at the start of `text`, quotes included.
fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(index + 1),
            _ => {}
        }
    }
    None
}

/// Length of the `<…>` at the start of `text`. A quoted local-part may hold `>`; another `<` may not stand inside.
fn angle_length(text: &str) -> Option<usize> {
    let mut index = 1;
    while let Some(c) = text[index..].chars().next() {
        match c {
            '>' => return Some(index + 1),
            '<' => return None,
            '"' => index += quoted_length(&text[index..])?,
            _ => index += c.len_utf8(),
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(value: &str) -> Result<Vec<String>, MailboxListError> {
        parse(value.as_bytes()).map(|list| list.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn whatever_could_show_two_authors_is_refused() {
        for value in [
            "",
            " ",
            ",",
            "a@b.example,",
            "a@b.example,,c@d.example",
            "a@b.example c@d.example",
            "a@b.example <c@d.example>",
            "x a@b.example <c@d.example>",
            "<a@b.example> <c@d.example>",
            "<a@b.example> c@d.example",
            "<a@b.example> Anna",
            "Doe, John <j@d.example>",
            "Anna <a@b.example",
            "Anna a@b.example>",
            "Friends: a@b.example;",
            "undisclosed-recipients:;",
            "<@c.example:a@b.example>",
            "<a@b.example<c@d.example>>",
            "<>",
            "Anna <>",
            "Anna",
            "\"Anna <a@b.example>",
            "(Anna a@b.example",
            "a (x) @b.example",
            "a @b.example",
            "a@ b.example",
            "a@b.example\\",
            "a@b.example\u{0}",
            "a@b@c.example",
            "a@[192.0.2.1]",
            "\"a b\"@b.example",
            "\"a@c.example\"@b.example",
            "Anna <\"x>y\"@b.example>",
            "((((((((((x)))))))))) a@b.example",
        ] {
            assert!(texts(value).is_err(), "{value:?} gave {:?}", texts(value));
        }
        assert_eq!(parse(b"\xff@b.example"), Err(MailboxListError::BadText));
        let many = vec!["a@b.example"; MAILBOXES_MAX + 1].join(",");
        assert_eq!(texts(&many), Err(MailboxListError::TooMany));
    }

    #[test]
    fn what_people_write_is_understood() {
        for (value, wanted) in [
            ("a@b.example", "a@b.example"),
            ("<a@b.example>", "a@b.example"),
            ("Anna Example <a@b.example>", "a@b.example"),
            ("John Q. Public <j@b.example>", "j@b.example"),
            ("\"Example, Anna\" <a@B.Example>", "a@b.example"),
            ("\"a@c.example\" <a@b.example>", "a@b.example"),
            ("=?utf-8?q?J=C3=B6rg?= <j@b.example>", "j@b.example"),
            ("Jörg <j@bücher.example>", "j@xn--bcher-kva.example"),
            ("a@b.example (Anna (the first) x@y.example)", "a@b.example"),
            ("(Anna) a@b.example", "a@b.example"),
            ("Anna < a@b.example >", "a@b.example"),
            ("\"a>\\\" \" <x-y@b.example>", "x-y@b.example"),
            ("Anna\t<a@b.example>\t", "a@b.example"),
        ] {
            assert_eq!(texts(value), Ok(vec![wanted.to_string()]), "{value:?}");
        }
        assert_eq!(texts("a@b.example , C <c@d.example>").unwrap(), ["a@b.example", "c@d.example"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(value in "[ab@.<>\",:;()\\\\ \\[é]{0,40}") {
            let _ = texts(&value);
        }
    }
}
