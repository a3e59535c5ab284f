//! The text of a configuration: every mistake in it with its line, in words that help.
//!
//! The parser stops at the first mistake. So a line that has one is blanked and the rest is read again, until nothing is
//! wrong with what is left. Called by `config.rs`.

use crate::config::Config;
use crate::config_example::{self, Example};
use registry::nearest;

/// How many mistakes are listed; a file that is not ours at all should not print a page.
const MISTAKES_MAX: usize = 20;

/// What a text says.
pub struct Read {
    /// Without the lines that cannot be read; none if what is wrong could not be told from the rest.
    pub config: Option<Config>,
    /// `file:line: sentence` for each of those, from the top to the bottom.
    pub mistakes: Vec<String>,
}

/// Reads all of it.
pub fn read(name: &str, text: &str) -> Read {
    let mut text = text.to_owned();
    let mut mistakes = Vec::new();
    let done = |config, mut mistakes: Vec<(Option<usize>, String)>| {
        mistakes.sort_by_key(|(line, _)| *line);
        Read { config, mistakes: mistakes.into_iter().map(|(_, mistake)| mistake).collect() }
    };
    loop {
        let error = match toml::from_str::<Config>(&text) {
            Ok(config) => return done(Some(config), mistakes),
            Err(error) => error,
        };
        let line = error.span().map(|span| number(&text, span.start)).or_else(|| culprit(&text, &error));
        // What is not closed is missed behind the last line, where an editor has none.
        let last = text.lines().count().max(1);
        let place = line.map_or_else(|| name.to_owned(), |line| format!("{name}:{}", line.min(last)));
        let key = line.and_then(|line| key_at(&text, line));
        let said = key.map_or_else(|| sentence(error.message()), |key| of_key(&key, error.message()));
        mistakes.push((line, format!("{place}: {said}")));
        let rest = line.and_then(|line| without(&text, line));
        match rest {
            Some(rest) if mistakes.len() < MISTAKES_MAX => text = rest,
            Some(_) | None => return done(None, mistakes),
        }
    }
}

/// The line in which this sentence's key, its first word, has its value. None if the text does not say it.
pub fn line_of(text: &str, sentence: &str) -> Option<usize> {
    let (path, _) = sentence.split_once(' ')?;
    let (section, key) = path.rsplit_once('.')?;
    let mut here = "";
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            here = header.trim();
        } else if here == section && line.split('=').next().is_some_and(|name| name.trim() == key) {
            return Some(index + 1);
        }
    }
    None
}

/// The key whose value is in this line. None if the text is no TOML: then what is wrong may be anywhere.
fn key_at(text: &str, line: usize) -> Option<String> {
    toml::from_str::<toml::Table>(text).ok()?;
    let (mut section, mut key) = (None, None);
    for line in text.lines().take(line).map(str::trim) {
        let header = line.strip_prefix('[').and_then(|rest| rest.split(']').next()).map(str::trim);
        if let Some(header) = header.filter(|header| is_bare(header)) {
            (section, key) = (Some(header), None);
        } else if let Some((name, _)) = line.split_once('=').filter(|(name, _)| is_bare(name.trim())) {
            key = Some(name.trim());
        }
    }
    match (section, key) {
        (Some(section), Some(key)) => Some(format!("{section}.{key}")),
        (None, Some(key)) | (Some(key), None) => Some(key.to_owned()),
        (None, None) => None,
    }
}

/// Whether it is one of the names that stand before `=` without quotes, with dots between them.
fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// The same about a key: what it is called, and what it looks like when it is right.
pub fn of_key(key: &str, message: &str) -> String {
    let said = sentence(message);
    if message.starts_with("unknown field") {
        return said;
    }
    match config_example::of(key).filter(|_| !message.starts_with("unknown variant")) {
        Some(Example { path, value }) => format!("{key}: {said}; right is, for example, {path} = {value}"),
        None => format!("{key}: {said}"),
    }
}

/// Counted from 1.
fn number(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Some mistakes come without a place: the line without which there is another one, or none.
fn culprit(text: &str, error: &toml::de::Error) -> Option<usize> {
    (1..=text.lines().count()).find(|line| {
        let is_header = text.lines().nth(line - 1).is_some_and(|line| line.trim_start().starts_with('['));
        let rest = if is_header { None } else { without(text, *line) };
        rest.is_some_and(|rest| {
            toml::from_str::<Config>(&rest).map_or_else(|other| other.message() != error.message(), |_| true)
        })
    })
}

/// The text with this line blanked; with its whole table if it is the header of one. None if nothing is there.
fn without(text: &str, line: usize) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let first = lines.get(line - 1)?.trim_start();
    if first.is_empty() {
        return None;
    }
    let is_header = first.starts_with('[');
    let rest =
        lines.iter().skip(line).take_while(|line| is_header && !line.trim_start().starts_with('[')).count();
    lines[line - 1..line + rest].fill("");
    Some(lines.join("\n"))
}

/// What the library says, in words of somebody who fills in a file.
pub fn sentence(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") {
        return quoted
            .next()
            .map_or_else(|| message.to_owned(), |wrong| unknown_key(wrong, &quoted.collect::<Vec<_>>()));
    }
    if message.starts_with("unknown variant") {
        let wrong = quoted.next().unwrap_or_default();
        return format!(
            "`{wrong}` cannot stand here; it is one of {}",
            quoted.collect::<Vec<_>>().join(", ")
        );
    }
    // What the standard library says names neither the thing nor its form.
    if message.contains("IP address syntax") || message.contains("prefix length") {
        return "this is not an address with the length of its network".to_owned();
    }
    if message.contains("socket address syntax") {
        return "this is not an IP address and a port".to_owned();
    }
    let found = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    match found.and_then(|found| found.rsplit_once(", expected ")) {
        Some((found, wanted)) => format!("{found} stands where {} belongs", kind(wanted)),
        None => message.replace('\n', " "),
    }
}

/// Adds the nearest right name.
fn unknown_key(wrong: &str, known: &[&str]) -> String {
    match nearest(wrong, known) {
        Some(right) => format!("there is no key `{wrong}`; did you mean `{right}`?"),
        None if known.is_empty() => format!("there is no key `{wrong}`"),
        None => format!("there is no key `{wrong}` here; the keys are {}", known.join(", ")),
    }
}

fn kind(rust: &str) -> &str {
    match rust {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not below 0 and not too large,",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" | "bool" => "true or false",
        "a string" | "string" | "path string" => "text in quotes",
        "a sequence" => "a list in brackets",
        other if other.starts_with("struct ") => "a section with keys",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_with_line_and_nearest_name() {
        let text =
            "[listen]\nhtpp = \"127.0.0.1:1\"\nsubmission = 7\n[node]\nhostname = \"a.test\"\ncolour = 1\n";
        let Read { config, mistakes } = read("posthouse.toml", text);
        assert!(config.is_some_and(|config| config.node.hostname.as_str() == "a.test"));
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        assert_eq!(mistakes[0], "posthouse.toml:2: there is no key `htpp`; did you mean `http`?");
        let said = "listen.submission: integer `7` stands where text in quotes belongs; right is, for example, \
                    listen.submission = \"127.0.0.1:2587\"";
        assert_eq!(mistakes[1], format!("posthouse.toml:3: {said}"));
        assert!(
            mistakes[2].starts_with("posthouse.toml:6: there is no key `colour` here"),
            "{}",
            mistakes[2]
        );
    }

    #[test]
    fn an_unknown_section_and_a_word_that_is_none_hide_nothing_behind_them() {
        let text =
            "[lisen]\nhttp = \"x\"\n[log]\nformat = \"yaml\"\nlines_waiting_max = -1\n[api]\nzzz = 1\n";
        let Read { config, mistakes } = read("f", text);
        assert!(config.is_some());
        assert_eq!(mistakes.len(), 4, "{mistakes:#?}");
        assert_eq!(mistakes[0], "f:1: there is no key `lisen`; did you mean `listen`?");
        assert!(
            mistakes
                .contains(&"f:4: log.format: `yaml` cannot stand here; it is one of text, json".to_owned()),
            "{mistakes:#?}"
        );
        assert!(mistakes.iter().any(|mistake| {
            mistake.starts_with("f:5: log.lines_waiting_max: integer `-1` stands where a whole number")
        }));
        assert!(mistakes.iter().any(|mistake| mistake.starts_with("f:7: there is no key `zzz`")));
    }

    #[test]
    fn a_value_that_cannot_be_read_is_told_by_its_key_with_a_right_one() {
        let text = "log = 1\n[egress]\nallow_networks = [\n  \"10.0.0.0/8\",\n  \"10.0.0.0/33\",\n]\n\
                    [dns]\nservers = [\"8.8.8.8\"]\n[node]\nhostname = \"bad host\"\ndata = 4\n";
        let mistakes = read("f", text).mistakes;
        let wanted = [
            ("f:1: log: ", "a section with keys", "log.filter = \"info\""),
            ("f:5: egress.allow_networks: ", "length of its network", "[\"10.0.0.0/8\"]"),
            ("f:8: dns.servers: ", "not an IP address and a port", "[\"192.0.2.53:53\"]"),
            ("f:10: node.hostname: ", "the domain has a label", "\"mx.posthouse.test\""),
            ("f:11: node.data: ", "text in quotes", "\".posthouse\""),
        ];
        assert_eq!(mistakes.len(), wanted.len(), "{mistakes:#?}");
        for (mistake, (begin, why, example)) in mistakes.iter().zip(wanted) {
            assert!(mistake.starts_with(begin) && mistake.contains(why), "{mistake}");
            assert!(mistake.ends_with(example), "{mistake}");
        }
    }

    #[test]
    fn what_is_missing_at_the_end_is_told_at_the_last_line() {
        let mistakes = read("f", "[node]\ndata = \"\"\"\na\n").mistakes;
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].starts_with("f:3: "), "{mistakes:?}");
    }

    #[test]
    fn text_that_is_not_toml_is_refused_and_ends() {
        for text in ["[[[", "a = \n\n\n b", "\u{0}", "[a]\n[a]\n[a]\n"] {
            assert!(!read("f", text).mistakes.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_key_is_found_in_its_section_only() {
        let text = "url = 1\n[spool]\nurl = 2\n[ database ]\n# url = 3\n  url = 4\n";
        assert_eq!(line_of(text, "database.url is wrong"), Some(6));
        assert_eq!(line_of(text, "events.url is wrong"), None);
        assert_eq!(line_of(text, "nothing"), None);
    }
}
