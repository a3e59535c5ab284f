//! Looks up the records of a sending domain; judging them is `registry::domain_records`' work.
//!
//! Asks the configured name servers, or the system's, without a cache: somebody who just published a record wants to
//! know now. A name that does not exist is an empty answer; everything else that is not an answer is trouble and never
//! counts against the domain. What may surprise: for a CNAME the alias itself is asked for, not what it leads to.

use crate::config::Config;
use crate::error::Fault;
use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{RData, RecordType};
use registry::{DomainRecord, ExpectedRecord, Found, RecordKind};
use std::time::Duration;

/// Values of one record that are shown; a name with more is not one that we asked for.
const VALUES_MAX: usize = 20;

/// Asks the DNS for the records of sending domains.
pub struct DnsChecker(TokioResolver);

impl DnsChecker {
    /// For the configured name servers, or the system's if there are none. Nothing is asked yet.
    ///
    /// # Errors
    /// `Resolver` if the name servers of the system cannot be read or no resolver can be made.
    pub fn new(config: &Config) -> Result<DnsChecker, Fault> {
        let mut builder = names::asking(&config.dns_servers).map_err(Fault::Resolver)?;
        let options = builder.options_mut();
        options.cache_size = 0;
        options.attempts = 2;
        options.timeout = Duration::from_millis(config.dns_timeout_ms);
        options.preserve_intermediates = true;
        builder.build().map(DnsChecker).map_err(Fault::Resolver)
    }

    /// Every record as just found and judged, in the order given.
    pub async fn check(&self, expected: Vec<ExpectedRecord>) -> Vec<DomainRecord> {
        let found = join_all(expected.iter().map(|record| self.look_up(record))).await;
        expected.into_iter().zip(found).map(|(record, found)| DomainRecord::judged(record, found)).collect()
    }

    async fn look_up(&self, record: &ExpectedRecord) -> Found {
        let kind = match record.kind {
            RecordKind::Txt => RecordType::TXT,
            RecordKind::Cname => RecordType::CNAME,
        };
        // The dot at the end keeps the search list of the host out of it.
        match self.0.lookup(format!("{}.", record.host), kind).await {
            Ok(answer) => {
                let values = answer.answers().iter().filter_map(|record| value_of(kind, &record.data));
                Found::Records(values.take(VALUES_MAX).collect())
            }
            Err(error) => unanswered(&error),
        }
    }
}

/// NXDOMAIN and NODATA say that there is nothing; the rest says nothing.
fn unanswered(error: &NetError) -> Found {
    if error.is_nx_domain() || error.is_no_records_found() {
        Found::Records(Vec::new())
    } else {
        Found::Trouble
    }
}

fn value_of(wanted: RecordType, data: &RData) -> Option<String> {
    match (wanted, data) {
        (RecordType::TXT, RData::TXT(txt)) => {
            let joined: Vec<u8> = txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
            Some(String::from_utf8_lossy(&joined).into_owned())
        }
        (RecordType::CNAME, RData::CNAME(target)) => {
            Some(target.0.to_ascii().trim_end_matches('.').to_owned())
        }
        _ => None,
    }
}

impl std::fmt::Debug for DnsChecker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DnsChecker(…)")
    }
}
