//! `{{name}}` in a batch: what each recipient is called, has ordered, or must click.
//!
//! Substitution and nothing else: no conditions, no loops, no code. In HTML a value is escaped; `{{{name}}}` puts it in
//! as it is, for values that are markup. A name without a value is an error that says which, because a mail that
//! begins with "Dear {{name}}" cannot be called back. Pure.

use std::collections::BTreeMap;

/// Values by name, of one recipient.
pub type Values = BTreeMap<String, String>;

/// How a value enters the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// Text, subject, header fields.
    Nothing,
    /// HTML, where `<` must not begin a tag.
    Html,
}

/// Every name that the recipient has no value for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub Vec<String>);

/// The text with every value in its place.
pub fn fill(template: &str, values: &Values, escape: Escape) -> Result<String, Missing> {
    let (mut text, mut missing) = (String::with_capacity(template.len()), Vec::new());
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        let (before, tail) = rest.split_at(start);
        text.push_str(before);
        let Some((name, used, verbatim)) = placeholder(tail) else {
            // Braces that are no placeholder are text: CSS and JSON are full of them.
            text.push_str("{{");
            rest = &tail[2..];
            continue;
        };
        match (values.get(name), escape) {
            (None, _) => missing.push(name.to_owned()),
            (Some(value), Escape::Html) if !verbatim => push_escaped(&mut text, value),
            (Some(value), Escape::Html | Escape::Nothing) => text.push_str(value),
        }
        rest = &tail[used..];
    }
    text.push_str(rest);
    if missing.is_empty() { Ok(text) } else { Err(Missing(missing)) }
}

/// Every name that the text has a place for, as often as it has one.
pub fn names(template: &str) -> Vec<&str> {
    let (mut names, mut rest) = (Vec::new(), template);
    while let Some(start) = rest.find("{{") {
        let tail = &rest[start..];
        let used = placeholder(tail).map_or(2, |(name, used, _)| {
            names.push(name);
            used
        });
        rest = &tail[used..];
    }
    names
}

/// Octets of a place for a variable: braces, name and the blanks around it.
const PLACE_OCTETS_MAX: usize = 200;

/// Name, length and whether it stands in three braces.
fn placeholder(tail: &str) -> Option<(&str, usize, bool)> {
    let verbatim = tail.starts_with("{{{");
    let (open, close) = if verbatim { ("{{{", "}}}") } else { ("{{", "}}") };
    // Looked for nearby only: a text of nothing but `{{` would be gone through to its end at each of them.
    let mut most = tail.len().min(PLACE_OCTETS_MAX);
    while !tail.is_char_boundary(most) {
        most -= 1;
    }
    let end = tail[..most].find(close)?;
    let name = tail[open.len()..end].trim();
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let is_name = !name.is_empty() && name.len() <= 64 && name.bytes().all(legal);
    is_name.then_some((name, end + close.len(), verbatim))
}

fn push_escaped(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        [("name", "Anna <b>"), ("order.id", "77"), ("evil", "{{name}}")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn a_name_without_a_value_is_an_error_that_says_which() {
        let template = "Dear {{ first }} {{name}} {{last}}";
        assert_eq!(names(template), ["first", "name", "last"]);
        assert!(names("{{ {{}} {{ a b }}").is_empty());
        assert!(names(&"{{\u{e9}".repeat(1_000_000)).is_empty(), "and in no time");
        assert_eq!(names(&format!("{{{{{}}}}}{{{{ b }}}}", " ".repeat(300))), ["b"]);
        let filled = fill(template, &values(), Escape::Nothing);
        assert_eq!(filled, Err(Missing(vec!["first".into(), "last".into()])));
    }

    #[test]
    fn values_are_escaped_in_html_and_nowhere_else() {
        let filled =
            |text, escape| fill(text, &values(), escape).unwrap_or_else(|missing| missing.0.join(","));
        assert_eq!(filled("Dear {{name}}, no. {{ order.id }}", Escape::Nothing), "Dear Anna <b>, no. 77");
        assert_eq!(filled("<p>{{name}}</p>", Escape::Html), "<p>Anna &lt;b&gt;</p>");
        assert_eq!(filled("<p>{{{name}}}</p>", Escape::Html), "<p>Anna <b></p>");
    }

    #[test]
    fn a_value_is_never_filled_again_and_other_braces_are_text() {
        let filled =
            |text| fill(text, &values(), Escape::Nothing).unwrap_or_else(|missing| missing.0.join(","));
        assert_eq!(filled("{{evil}}"), "{{name}}");
        for text in ["a{b{{}}c}", "{{ a b }}", "{{", "{{{", "}}", "@media{{x:y}}", "{{ä}}"] {
            assert_eq!(filled(text), text);
        }
    }
}
