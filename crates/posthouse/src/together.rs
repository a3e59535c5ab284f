//! What no section of the configuration can know alone: whether one works beside the others, and beside this host's files.
//!
//! Called by `config.rs`. Each sentence begins with the key that is to be changed, the one that says the more special
//! thing of the two.

use crate::config::{Config, Listen, Tls};
use std::net::SocketAddr;
use std::path::Path;

/// What the journal keeps of one recipient at most: address, ORCPT (RFC 3461 §4.2: 500 octets), reverse-path.
const RECIPIENT_OCTETS_MAX: u64 = 1_024;
/// What is put on top of a message (signatures, trace), and what the journal writes before it (tags, subject).
const AROUND_OCTETS_MAX: u64 = 128 << 10;
/// Who reads the journal and says how far; a segment waits for all of them.
const READERS: [&str; 1] = ["events"];

/// All of it, in sentences that begin with `section.key`.
pub fn mistakes(config: &Config) -> Vec<String> {
    let mut mistakes = doubles(&config.listen);
    mistakes.extend(half_of(&config.tls));
    mistakes.extend(record(config));
    mistakes.extend(readers(&config.spool.readers));
    mistakes.extend(roots(&config.egress.tls_roots, &egress::Config::default().tls_roots));
    mistakes
}

/// Port 0 is another one each time.
fn doubles(listen: &Listen) -> Vec<String> {
    let doors = listen.doors().map(|(key, text)| (key, text, text.parse::<SocketAddr>().ok()));
    let taken = |index: usize| {
        let (key, text, address) = doors.get(index)?;
        let address = address.filter(|address| address.port() != 0)?;
        let (first, ..) = doors[..index].iter().find(|(.., earlier)| *earlier == Some(address))?;
        Some(format!(
            "listen.{key} = \"{text}\" is the address of listen.{first}, too: each needs a port of its own"
        ))
    };
    (0..doors.len()).filter_map(taken).collect()
}

fn half_of(tls: &Tls) -> Option<String> {
    let belongs = "chain and key are the two files of one certificate";
    match (tls.chain.as_os_str().is_empty(), tls.key.as_os_str().is_empty()) {
        (true, false) => Some(format!("tls.chain is empty, and tls.key is not: {belongs}")),
        (false, true) => Some(format!("tls.key is empty, and tls.chain is not: {belongs}")),
        (true, true) | (false, false) => None,
    }
}

/// Otherwise the doors would offer a SIZE that is refused after it was sent.
fn record(config: &Config) -> Option<String> {
    let session = &config.ingress.session;
    let recipients = (session.recipients_max as u64).saturating_mul(RECIPIENT_OCTETS_MAX);
    let needed =
        (session.message_octets_max as u64).saturating_add(recipients).saturating_add(AROUND_OCTETS_MAX);
    let given = config.spool.record_octets_max;
    (u64::from(given) < needed).then(|| {
        format!(
            "spool.record_octets_max = {given} must be at least {needed} (and spool.in_flight_octets_max no less) for \
             messages of ingress.session.message_octets_max = {} with ingress.session.recipients_max = {} recipients",
            session.message_octets_max, session.recipients_max
        )
    })
}

/// For one that never comes the journal would be kept for ever, and without all of them it would go before it was read.
fn readers(named: &[String]) -> Option<String> {
    let unknown = named.iter().find(|reader| !READERS.contains(&reader.as_str()));
    let missing = READERS.iter().find(|reader| named.iter().all(|name| name != *reader));
    let why = match (unknown, missing) {
        (Some(unknown), _) => {
            format!("has \"{unknown}\", and nobody of that name reads the journal: it would be kept for ever")
        }
        (None, Some(missing)) => {
            format!("lacks \"{missing}\": what it has not read yet would be removed")
        }
        (None, None) => return None,
    };
    let known = READERS.map(|reader| format!("\"{reader}\"")).join(", ");
    Some(format!("spool.readers {why}. Write readers = [{known}]"))
}

/// The default may be missing, as on a host that sends to nobody who wants verified TLS; then the log says so.
fn roots(named: &Path, default: &Path) -> Option<String> {
    (named != default && !named.exists()).then(|| {
        format!(
            "egress.tls_roots = \"{}\" is not there; it is a file of root certificates such as {}",
            named.display(),
            default.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        let mistakes = mistakes(&config);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        mistakes.concat()
    }

    #[test]
    fn the_defaults_work_together() {
        assert_eq!(mistakes(&Config::default()), Vec::<String>::new());
    }

    #[test]
    fn two_doors_at_one_address_are_told_by_the_later_one() {
        let said = only(|config| config.listen.inbound.clone_from(&config.listen.submission));
        assert!(said.starts_with("listen.inbound ") && said.contains("listen.submission, too"), "{said}");
        let mut config = Config::default();
        let any = "127.0.0.1:0".to_owned();
        config.listen =
            Listen { http: any.clone(), submission: any, submissions: String::new(), inbound: String::new() };
        assert_eq!(mistakes(&config), Vec::<String>::new());
    }

    #[test]
    fn half_a_certificate_is_none() {
        assert!(only(|config| config.tls.chain = "a.pem".into()).starts_with("tls.key is empty"));
        assert!(only(|config| config.tls.key = "a.pem".into()).starts_with("tls.chain is empty"));
    }

    #[test]
    fn what_the_doors_take_has_to_fit_into_the_journal() {
        let said = only(|config| config.ingress.session.message_octets_max = 128 << 20);
        assert!(said.starts_with("spool.record_octets_max ") && said.contains("135372800"), "{said}");
        only(|config| config.ingress.session.recipients_max = 100_000);
        let mut config = Config::default();
        config.ingress.session.message_octets_max = usize::MAX;
        assert_eq!(mistakes(&config).len(), 1);
    }

    #[test]
    fn a_reader_that_nobody_is_is_told_with_those_who_are() {
        let said = only(|config| config.spool.readers.push("evnts".to_owned()));
        assert!(said.starts_with("spool.readers ") && said.contains("readers = [\"events\"]"), "{said}");
        assert!(only(|config| config.spool.readers.clear()).starts_with("spool.readers lacks \"events\""));
    }

    #[test]
    fn roots_that_are_named_are_there() {
        assert!(
            only(|config| config.egress.tls_roots = "/nowhere/roots.pem".into())
                .contains("/nowhere/roots.pem")
        );
        assert_eq!(roots(Path::new("/nowhere"), Path::new("/nowhere")), None);
    }
}
