//! The certificate of the listeners: both files readable, one fitting the other, good for our name and for long enough.
//!
//! Whether it can be used is asked of what the doors use (`ingress::Tls`). Until when it is good is read from its DER
//! here, because the TLS library only says so about other people's certificates: four steps into a sequence, and a
//! text of a fixed form (RFC 5280 §4.1).

use crate::doctor::finding::{Finding, State, Trouble};
use crate::exit::Failure;
use mail::{Domain, Timestamp};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::path::Path;
use std::time::Duration;

/// Robots renew at thirty days; later than that something is wrong with the robot.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);
const CHECK: &str = "certificate";
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

pub async fn check(chain: &Path, key: &Path, hostname: &Domain, now: Timestamp) -> Finding {
    if chain.as_os_str().is_empty() || key.as_os_str().is_empty() {
        return Finding::warning(
            CHECK,
            "tls.chain and tls.key are empty",
            "`posthouse up` makes its own authority; `posthouse serve` needs the PEM files of a certificate",
        );
    }
    let wrong = |found: String, advice: &str| Finding::error(Trouble::Configuration, CHECK, found, advice);
    if let Err(fault) = ingress::Tls::load(chain, key, &ingress::TlsConfig::default()).await {
        let error = Failure::Configuration(format!("{:#}", anyhow::Error::from(fault)));
        return wrong(
            format!("{error} ({} and {})", chain.display(), key.display()),
            "tls.chain is the server's certificate first, then its issuers; tls.key is the key of that certificate",
        );
    }
    let first = std::fs::read(chain).ok().and_then(|pem| CertificateDer::pem_slice_iter(&pem).next()?.ok());
    let Some(certificate) = first else {
        return wrong(format!("{} holds no certificate", chain.display()), "see tls.chain");
    };
    judge(&certificate, hostname, now)
}

/// Both that it is over and that it is another's: whoever renews it should ask for the right name at once.
fn judge(certificate: &CertificateDer<'_>, hostname: &Domain, now: Timestamp) -> Finding {
    let age = age(certificate, now);
    if is_for(certificate, hostname) {
        return match age.state {
            State::Ok => Finding::ok(CHECK, format!("good for {hostname} {}", age.found)),
            State::Warning | State::Error => age,
        };
    }
    let found = format!("the certificate is not for {hostname} (node.hostname)");
    let advice = "clients that connect to that name refuse it";
    match (age.state, age.advice) {
        (State::Ok, _) | (_, None) => Finding::warning(CHECK, found, advice),
        (State::Warning | State::Error, Some(renew)) => Finding {
            found: format!("{}, and it is not for {hostname} (node.hostname)", age.found),
            advice: Some(format!("{renew}; with that name in it, or {advice}")),
            ..age
        },
    }
}

/// Until when it is good.
fn age(certificate: &CertificateDer<'_>, now: Timestamp) -> Finding {
    let Some(until) = not_after(certificate) else {
        return Finding::warning(
            CHECK,
            "until when the certificate is good cannot be read",
            "look at it with `openssl x509 -text`",
        );
    };
    if until <= now {
        let found = format!("the certificate was good until {until}");
        return Finding::error(Trouble::Configuration, CHECK, found, "renew it: clients refuse it");
    }
    if until.saturating_since(now) < EXPIRES_SOON {
        let found = format!("the certificate is good until {until} only");
        return Finding::warning(CHECK, found, "renew it, and look why it was not renewed by itself");
    }
    Finding::ok(CHECK, format!("until {until}"))
}

fn is_for(certificate: &CertificateDer<'_>, hostname: &Domain) -> bool {
    let name = ServerName::try_from(hostname.to_string());
    let parsed = rustls::server::ParsedCertificate::try_from(certificate);
    match (name, parsed) {
        (Ok(name), Ok(parsed)) => rustls::client::verify_server_name(&parsed, &name).is_ok(),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// Certificate → TBSCertificate → (version, serial, algorithm, issuer) → Validity → the second time.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (tag, validity, _) = element(fields)?;
    let (_, _, rest) = element(validity).filter(|_| tag == SEQUENCE)?;
    let (tag, time, _) = element(rest)?;
    time_of(tag, std::str::from_utf8(time).ok()?)
}

/// The first element of some DER: tag, content, what comes after it.
fn element(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = octets.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let digits = rest.get(..count).filter(|_| count <= 4)?;
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), &rest[count..])
    };
    Some((tag, rest.get(..length)?, rest.get(length..)?))
}

/// `YYMMDDHHMMSSZ`, where 50 is 1950, or `YYYYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5).
fn time_of(tag: u8, text: &str) -> Option<Timestamp> {
    let text = match tag {
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i8>().ok();
    let year: i16 = text.get(..4)?.parse().ok()?;
    let time = jiff::civil::DateTime::new(
        year,
        number(4..6)?,
        number(6..8)?,
        number(8..10)?,
        number(10..12)?,
        number(12..14)?,
        0,
    );
    let zoned = time.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_jiff(zoned.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use std::path::PathBuf;

    struct Files {
        _place: tempfile::TempDir,
        chain: PathBuf,
        key: PathBuf,
    }

    fn files(name: &str, until_year: i32) -> Files {
        let place = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until_year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let chain = place.path().join("chain.pem");
        std::fs::write(&chain, params.self_signed(&key).unwrap().pem()).unwrap();
        let key_file = place.path().join("key.pem");
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        Files { _place: place, chain, key: key_file }
    }

    fn now() -> Timestamp {
        // 2026-11-26
        Timestamp::from_millis(1_795_651_200_000)
    }

    async fn found(chain: &Path, key: &Path) -> Finding {
        check(chain, key, &Domain::parse("mx.posthouse.test").unwrap(), now()).await
    }

    #[tokio::test]
    async fn a_good_certificate_is_good_until_its_last_day() {
        let files = files("mx.posthouse.test", 2030);
        let finding = found(&files.chain, &files.key).await;
        assert_eq!(finding.found, "good for mx.posthouse.test until 2030-12-31T00:00:00.000Z");
        // After 2049 the time is written in another form.
        let files = self::files("mx.posthouse.test", 2060);
        assert!(found(&files.chain, &files.key).await.found.ends_with("2060-12-31T00:00:00.000Z"));
    }

    #[tokio::test]
    async fn a_certificate_that_is_over_or_soon_will_be_is_told() {
        let files = files("mx.posthouse.test", 2025);
        let finding = found(&files.chain, &files.key).await;
        assert_eq!(finding.state, State::Error);
        assert_eq!(finding.found, "the certificate was good until 2025-12-31T00:00:00.000Z");
        let files = self::files("mx.posthouse.test", 2026);
        let soon = Timestamp::from_millis(1_798_000_000_000);
        let domain = Domain::parse("mx.posthouse.test").unwrap();
        assert_eq!(check(&files.chain, &files.key, &domain, soon).await.state, State::Warning);
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_is_told() {
        let files = files("other.test", 2030);
        let finding = found(&files.chain, &files.key).await;
        assert_eq!(finding.found, "the certificate is not for mx.posthouse.test (node.hostname)");
    }

    #[tokio::test]
    async fn a_certificate_that_is_over_and_for_another_name_is_told_as_both() {
        let files = files("other.test", 2025);
        let finding = found(&files.chain, &files.key).await;
        assert_eq!((finding.state, finding.trouble), (State::Error, Trouble::Configuration));
        let both = "the certificate was good until 2025-12-31T00:00:00.000Z, and it is not for mx.posthouse.test (node.hostname)";
        assert_eq!(finding.found, both);
        assert!(
            finding
                .advice
                .is_some_and(|advice| advice.contains("renew it") && advice.contains("with that name"))
        );
    }

    #[tokio::test]
    async fn files_that_are_missing_or_do_not_fit_are_told_with_their_names() {
        let (one, two) = (files("mx.posthouse.test", 2030), files("mx.posthouse.test", 2030));
        let mixed = found(&one.chain, &two.key).await;
        assert_eq!((mixed.state, mixed.trouble), (State::Error, Trouble::Configuration));
        let missing = found(Path::new("/nowhere/chain.pem"), &two.key).await;
        assert!(missing.found.contains("/nowhere/chain.pem"), "{}", missing.found);
        assert_eq!(found(Path::new(""), Path::new("")).await.state, State::Warning);
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for octets in [&b""[..], &[0x30], &[0x30, 0x84, 255, 255, 255, 255], &[0x30, 3, 0x30, 1, 0]] {
            assert_eq!(not_after(octets), None);
        }
    }
}
