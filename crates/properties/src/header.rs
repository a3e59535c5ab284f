//! Target `header`: the header section and what is read of it.
//!
//! Input: a message; line ends are made right first when the first octet is odd. Holds: fields cover the section without
//! a gap; a field has no line end inside once it is unfolded; what we add and remove changes nothing else, and is read
//! as just that; a From that is read gives the same authors when they are written down.

use crate::{address, setting};
use mail::message::{Edit, HeaderLimits, HeaderSection, encoded_word, normalize_line_endings};

/// Panics if a property of header sections does not hold for these octets.
pub fn check(octets: &[u8]) {
    let (settings, input) = setting(octets);
    let raw = if settings & 1 == 0 { input.into() } else { normalize_line_endings(input) };
    let normal = normalize_line_endings(&raw).into_owned();
    assert_eq!(normal, &*normalize_line_endings(&normal), "line ends are made right once");

    let limits = HeaderLimits::default();
    let Ok(section) = HeaderSection::parse(&raw, &limits) else { return };
    let mut at = 0;
    for field in section.fields() {
        assert_eq!((field.range().start, &raw[field.range()]), (at, field.raw()), "fields lie side by side");
        assert!(!field.unfolded().iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "a line end in a field");
        at = field.range().end;
    }
    let between = &raw[at..section.body_offset()];
    assert!(between.is_empty() || between == b"\r\n", "something between the fields and the body");
    if let Ok(authors) = section.from_addresses() {
        address::written_down(&authors);
    }
    if let Some(subject) = section.subject() {
        assert!(
            subject.chars().count() <= mail::message::header::SUBJECT_CHARS_MAX,
            "a subject of any length"
        );
    }
    let text = String::from_utf8_lossy(input);
    assert!(encoded_word::decode(&text, 100).chars().count() <= 100, "decoding made more than was asked for");
    edited(&section);
}

/// One field more, one name less, and everything else as it was.
fn edited(section: &HeaderSection<'_>) {
    let mut edit = Edit::new();
    edit.remove("Bcc");
    if edit.prepend("X-Added", "one value").is_err() {
        unreachable!("a constant");
    }
    let wide = HeaderLimits { octets_max: usize::MAX, fields_max: usize::MAX, line_octets_max: 998 };
    let changed = edit.apply(section);
    let Ok(after) = HeaderSection::parse(&changed, &wide) else { panic!("our own edit cannot be read") };
    let kept = section.fields().iter().filter(|field| !field.is("bcc"));
    let kept: Vec<&[u8]> = kept.map(|field| field.raw().trim_ascii_end()).collect();
    let found: Vec<&[u8]> = after.fields().iter().map(|field| field.raw().trim_ascii_end()).collect();
    assert_eq!(found.first(), Some(&&b"X-Added: one value"[..]), "what we add is the first field");
    assert_eq!(&found[1..], &kept[..], "an edit changed a field that it was not about");
    assert_eq!(after.body(), section.body(), "an edit changed the body");
}
