//! Header fields that steer: read for us, removed before anybody else sees them.
//!
//! `X-Posthouse-Stream`, `-Pool` and `-Send-At` may be there once; `-Tags` and `-Metadata` may be repeated and add up.
//! A credential that came from PowerMTA may also use `X-Virtual-MTA` (our pool), `X-Job` (a tag) and `X-Envid` (the
//! envelope id of RFC 3461). Values are text here: whether a stream or pool exists and whether a tag is too long is
//! decided by `registry::admission`. What cannot be read at all is refused, and so is an `X-Posthouse-` field that there
//! is not; ignoring it would send mail another way than its author meant.

use mail::message::HeaderSection;
use mail::{Refusal, RefusalKind, Timestamp, echo};
use registry::{Steering, nearest};

/// Which dialects a credential may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Own,
    /// PowerMTA's fields too.
    PowerMta,
}

/// What the fields asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Steered {
    pub steering: Steering,
    /// In xtext.
    pub envelope_id: Option<String>,
}

const STREAM: &str = "X-Posthouse-Stream";
const POOL: &str = "X-Posthouse-Pool";
const TAGS: &str = "X-Posthouse-Tags";
const METADATA: &str = "X-Posthouse-Metadata";
const SEND_AT: &str = "X-Posthouse-Send-At";
const PREFIX: &str = "X-Posthouse-";
const OWN: [&str; 5] = [STREAM, POOL, TAGS, METADATA, SEND_AT];
/// A name that is longer was not meant to be one of ours.
const FIELD_REST_OCTETS_MAX: usize = 32;
const VIRTUAL_MTA: &str = "X-Virtual-MTA";
const JOB: &str = "X-Job";
const ENVID: &str = "X-Envid";
/// Octets of an ENVID, RFC 3461 §4.4.
const ENVID_OCTETS_MAX: usize = 100;

/// Reads the fields; what the caller already knows from JSON (`asked`) wins, tags and metadata add up. Refuses what
/// cannot be read at all and what is there once too often.
pub fn read(section: &HeaderSection<'_>, dialect: Dialect, asked: Steering) -> Result<Steered, Refusal> {
    if let Some(refusal) = section.fields().iter().find_map(|field| unknown_field(field.name())) {
        return Err(refusal);
    }
    let mut steered = Steered { steering: asked, envelope_id: None };
    let steering = &mut steered.steering;
    let stream = once(section, STREAM)?;
    let pool = once(section, POOL)?;
    let send_at = once(section, SEND_AT)?.map(|text| time(&text)).transpose()?;
    steering.stream = steering.stream.take().or(stream);
    steering.pool = steering.pool.take().or(pool);
    steering.send_at = steering.send_at.or(send_at);
    for field in section.all(TAGS) {
        steering.tags.extend(list(&field.value()).map(str::to_owned));
    }
    for field in section.all(METADATA) {
        steering.metadata.extend(pairs(&field.value())?);
    }
    match dialect {
        Dialect::Own => {}
        Dialect::PowerMta => read_power_mta(section, &mut steered)?,
    }
    Ok(steered)
}

/// The refusal of a field whose name begins like ours and is none: most likely a mistake in writing.
pub fn unknown_field(name: &str) -> Option<Refusal> {
    let (prefix, rest) = name.split_at_checked(PREFIX.len())?;
    if !prefix.eq_ignore_ascii_case(PREFIX) || OWN.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return None;
    }
    let written = echo(name).unwrap_or("of this name");
    let text = match meant(rest) {
        Some(own) => format!("there is no header field {written}; did you mean {own}"),
        None => format!("there is no header field {written}; there are {}", OWN.join(", ")),
    };
    Some(bad(text))
}

/// Which of ours is meant by what stands behind the prefix.
fn meant(rest: &str) -> Option<&'static str> {
    if rest.len() > FIELD_REST_OCTETS_MAX {
        return None;
    }
    let found = nearest(rest, &OWN.map(|own| &own[PREFIX.len()..]))?;
    OWN.into_iter().find(|own| own[PREFIX.len()..] == *found)
}

/// The fields that `read` looks at: nobody behind us sees them.
pub fn removed_fields(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Own => &OWN,
        Dialect::PowerMta => &[STREAM, POOL, TAGS, METADATA, SEND_AT, VIRTUAL_MTA, JOB, ENVID],
    }
}

fn read_power_mta(section: &HeaderSection<'_>, steered: &mut Steered) -> Result<(), Refusal> {
    // `{default}` is PowerMTA's word for no choice.
    let pool = once(section, VIRTUAL_MTA)?.filter(|name| name != "{default}");
    steered.steering.pool = steered.steering.pool.take().or(pool);
    steered.steering.tags.extend(once(section, JOB)?);
    steered.envelope_id = once(section, ENVID)?.map(|text| envelope_id(&text)).transpose()?;
    Ok(())
}

/// The value of a field that may be there once; an empty one says nothing.
fn once(section: &HeaderSection<'_>, name: &str) -> Result<Option<String>, Refusal> {
    let mut fields = section.all(name);
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(bad(format!("the field {name} is there twice")));
    }
    let bytes = field.unfolded();
    let text = std::str::from_utf8(&bytes).map_err(|_| bad(format!("the field {name} is not UTF-8")))?;
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// RFC 3339, or seconds since 1970 as other services take them.
fn time(text: &str) -> Result<Timestamp, Refusal> {
    let seconds = || text.parse::<i64>().ok().map(|s| Timestamp::from_millis(s.saturating_mul(1000)));
    Timestamp::parse_rfc3339(text)
        .or_else(seconds)
        .ok_or_else(|| bad(format!("{SEND_AT} is not a time such as 2026-11-23T09:14:09Z")))
}

/// `a, b, c`.
fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// `{"order":"77"}`, or `order=77, campaign=nov26`.
fn pairs(value: &str) -> Result<Vec<(String, String)>, Refusal> {
    if value.starts_with('{') {
        let object: std::collections::BTreeMap<String, String> = serde_json::from_str(value)
            .map_err(|_| bad(format!("{METADATA} is not a JSON object of texts")))?;
        return Ok(object.into_iter().collect());
    }
    let pair = |item: &str| {
        let (key, value) = item.split_once('=').ok_or_else(|| {
            bad(format!("{METADATA} is neither key=value pairs with commas between nor a JSON object"))
        })?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    list(value).map(pair).collect()
}

/// As xtext (RFC 3461 §4), which is what the envelope keeps.
fn envelope_id(text: &str) -> Result<String, Refusal> {
    let mut xtext = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'+' | b'=' => xtext.push_str(&format!("+{byte:02X}")),
            b'!'..=b'~' => xtext.push(char::from(byte)),
            _ => return Err(bad(format!("{ENVID} has a character that is not printable ASCII, or a space"))),
        }
    }
    if xtext.len() > ENVID_OCTETS_MAX {
        return Err(bad(format!("{ENVID} is longer than {ENVID_OCTETS_MAX} octets")));
    }
    Ok(xtext)
}

fn bad(public: String) -> Refusal {
    Refusal::new(RefusalKind::BadSteering, public)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::message::HeaderLimits;

    fn read_text(header: &str, dialect: Dialect) -> Result<Steered, Refusal> {
        let raw = format!("{header}\r\n");
        let section = HeaderSection::parse(raw.as_bytes(), &HeaderLimits::default()).unwrap();
        read(&section, dialect, Steering::default())
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_not_ignored() {
        for header in [
            "X-Posthouse-Stream: a\r\nx-posthouse-stream: b\r\n",
            "X-Posthouse-Send-At: tomorrow\r\n",
            "X-Posthouse-Metadata: {\"a\":1}\r\n",
            "X-Posthouse-Metadata: {\"a\":\r\n",
            "X-Posthouse-Metadata: order\r\n",
        ] {
            let refusal = read_text(header, Dialect::Own).unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::BadSteering, "{header}");
        }
        assert!(read_text("X-Envid: a b\r\n", Dialect::PowerMta).is_err());
        assert!(read_text(&format!("X-Envid: {}\r\n", "x".repeat(101)), Dialect::PowerMta).is_err());
    }

    #[test]
    fn a_field_that_there_is_not_is_refused_with_the_one_that_is_meant() {
        for (name, said) in [
            ("X-Posthouse-Foo", "X-Posthouse-Foo; did you mean X-Posthouse-Pool"),
            ("x-posthouse-STREM", "x-posthouse-STREM; did you mean X-Posthouse-Stream"),
            ("X-Posthouse-Sendat", "X-Posthouse-Sendat; did you mean X-Posthouse-Send-At"),
            ("X-Posthouse-Tag", "X-Posthouse-Tag; did you mean X-Posthouse-Tags"),
            (
                "X-Posthouse-Campaign-Name",
                "X-Posthouse-Campaign-Name; there are X-Posthouse-Stream, X-Posthouse-Pool",
            ),
            ("X-Posthouse-", "X-Posthouse-; there are X-Posthouse-Stream"),
        ] {
            for dialect in [Dialect::Own, Dialect::PowerMta] {
                let refusal = read_text(&format!("{name}: x\r\n"), dialect).unwrap_err();
                assert_eq!(refusal.kind, RefusalKind::BadSteering, "{name}");
                assert!(refusal.public().contains(said), "{}", refusal.public());
            }
        }
        let long = unknown_field(&format!("X-Posthouse-{}", "x".repeat(900))).unwrap();
        assert!(long.public().starts_with("there is no header field of this name; there are"), "{long:?}");
        for other in ["X-Posthouse", "X-Posthouses-Foo", "Posthouse-Foo", "X-Post", "X-Posthous\u{e9}-Foo"] {
            assert_eq!(unknown_field(other), None, "{other}");
        }
    }

    #[test]
    fn all_fields_are_read_however_they_are_written() {
        let header = "x-posthouse-STREAM:  marketing \r\nX-Posthouse-Pool: fast\r\nX-Posthouse-Tags: nov26,\r\n  sale,,\r\n\
                      X-Posthouse-Tags: third\r\nX-Posthouse-Metadata: order=77, k = a=b\r\n\
                      X-Posthouse-Metadata: {\"x\":\"y, z\"}\r\nX-Posthouse-Send-At: 2026-11-23T10:14:09+01:00\r\n";
        let steering = read_text(header, Dialect::Own).unwrap().steering;
        assert_eq!((steering.stream.as_deref(), steering.pool.as_deref()), (Some("marketing"), Some("fast")));
        assert_eq!(steering.tags, ["nov26", "sale", "third"]);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(steering.metadata, [pair("order", "77"), pair("k", "a=b"), pair("x", "y, z")]);
        assert_eq!(steering.send_at.unwrap().to_string(), "2026-11-23T09:14:09.000Z");
    }

    #[test]
    fn power_mta_fields_count_only_for_who_may_use_them() {
        let header = "X-Virtual-MTA: fast\r\nX-Job: nov26\r\nX-Envid: a+b\r\n";
        assert_eq!(read_text(header, Dialect::Own).unwrap(), Steered::default());
        let steered = read_text(header, Dialect::PowerMta).unwrap();
        assert_eq!(steered.steering.pool.as_deref(), Some("fast"));
        assert_eq!(
            (steered.steering.tags, steered.envelope_id.as_deref()),
            (vec!["nov26".to_owned()], Some("a+2Bb"))
        );
        let none = read_text("X-Virtual-MTA: {default}\r\nX-Job:\r\n", Dialect::PowerMta).unwrap();
        assert_eq!(none, Steered::default());
    }

    #[test]
    fn what_json_asked_for_wins_over_the_header() {
        let raw = b"X-Posthouse-Stream: a\r\nX-Posthouse-Tags: t\r\n\r\n";
        let section = HeaderSection::parse(raw, &HeaderLimits::default()).unwrap();
        let asked = Steering { stream: Some("b".into()), tags: vec!["s".into()], ..Steering::default() };
        let steering = read(&section, Dialect::Own, asked).unwrap().steering;
        assert_eq!(
            (steering.stream.as_deref(), steering.tags),
            (Some("b"), vec!["s".to_owned(), "t".to_owned()])
        );
    }
}
