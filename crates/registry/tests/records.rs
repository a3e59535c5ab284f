//! The DNS records of a domain: what is asked for, and how an answer is judged.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use mail::Domain;
use proptest::prelude::*;
use registry::{
    DomainFacts, DomainRecord, DomainState, ExpectedRecord, Found, KeyAlgorithm, KeyState, PublishedKey,
    Purpose, RecordState, expected_records, judge, next_state,
};
use std::time::Duration;

fn key(selector: &str, algorithm: KeyAlgorithm, state: KeyState, p: &str) -> PublishedKey {
    let record = format!("v=DKIM1; k={}; p={p}", algorithm.as_str());
    PublishedKey { selector: selector.to_owned(), algorithm, state, record }
}

fn records() -> Vec<ExpectedRecord> {
    let domain = |text| Domain::parse(text).unwrap();
    let keys = [
        key("a", KeyAlgorithm::Rsa, KeyState::Active, "MIIBIjANBg"),
        key("b", KeyAlgorithm::Ed25519, KeyState::Active, "11qYAYKx"),
        key("old", KeyAlgorithm::Rsa, KeyState::Retiring, "x"),
        key("new", KeyAlgorithm::Rsa, KeyState::Next, "y"),
    ];
    expected_records(&DomainFacts {
        name: &domain("one.example"),
        ownership_token: "t0ken",
        return_path: &domain("rp.one.example"),
        return_path_target: &domain("return.posthouse.test"),
        keys: &keys,
        tracking: None,
    })
}

fn expected(purpose: Purpose) -> ExpectedRecord {
    records().into_iter().find(|record| record.purpose == purpose).unwrap()
}

fn judged(purpose: Purpose, found: &[&str]) -> RecordState {
    let found = Found::Records(found.iter().map(|text| (*text).to_owned()).collect());
    let (state, hint) = judge(&expected(purpose), &found);
    assert_eq!(hint.is_empty(), state == RecordState::Ok, "{hint}");
    state
}

#[test]
fn the_records_are_those_of_the_contract() {
    let shown: Vec<(Purpose, String, bool)> =
        records().into_iter().map(|record| (record.purpose, record.host, record.required)).collect();
    let host = str::to_owned;
    assert_eq!(
        shown,
        [
            (Purpose::Ownership, host("_posthouse.one.example"), true),
            (Purpose::Dkim1, host("a._domainkey.one.example"), true),
            (Purpose::Dkim1, host("new._domainkey.one.example"), false),
            (Purpose::Dkim2, host("b._domainkey.one.example"), false),
            (Purpose::ReturnPath, host("rp.one.example"), true),
            (Purpose::Dmarc, host("_dmarc.one.example"), false),
        ]
    );
    assert_eq!(expected(Purpose::Ownership).value, "posthouse-verify=t0ken");
    let json = serde_json::to_value(DomainRecord::unchecked(expected(Purpose::ReturnPath))).unwrap();
    assert_eq!(json["purpose"], "return_path");
    assert_eq!((&json["type"], &json["state"]), (&"CNAME".into(), &"unchecked".into()));
}

#[test]
fn a_name_server_that_does_not_answer_is_no_missing_record() {
    for record in records() {
        assert_eq!(judge(&record, &Found::Trouble).0, RecordState::Error);
    }
}

#[test]
fn keys_are_compared_by_meaning() {
    use RecordState::{Mismatch, Missing, Ok};
    for (found, state) in [
        (&[][..], Missing),
        (&["v=DKIM1; k=rsa; p=MIIBIjANBg"], Ok),
        (&["k=rsa;p=MIIBI jANBg ;t=s"], Ok),
        (&["v=DKIM1; h=sha1:sha256; s=email; p=MIIBIjANBg"], Ok),
        // RFC 6376 §3.6.1: such a record is discarded, whatever its key is.
        (&["k=rsa;p=MIIBI jANBg ;v=DKIM1"], Mismatch),
        (&["v=DKIM2; k=rsa; p=MIIBIjANBg"], Mismatch),
        (&["v=DKIM1; k=ed25519; p=MIIBIjANBg"], Mismatch),
        (&["v=DKIM1; h=sha1; p=MIIBIjANBg"], Mismatch),
        (&["v=DKIM1; s=other; p=MIIBIjANBg"], Mismatch),
        (&["v=DKIM1; k=rsa; p=MIIBIj"], Mismatch),
        (&["v=DKIM1; k=rsa; p=other"], Mismatch),
        (&["v=DKIM1; p="], Mismatch),
        (&["some text"], Mismatch),
        (&["v=DKIM1; k=rsa; p=MIIBIjANBg", "v=DKIM1; k=rsa; p=MIIBIjANBg"], Mismatch),
    ] {
        assert_eq!(judged(Purpose::Dkim1, found), state, "{found:?}");
    }
}

#[test]
fn ownership_may_stand_beside_others_and_any_valid_dmarc_will_do() {
    use RecordState::{Mismatch, Missing, Ok};
    assert_eq!(judged(Purpose::Ownership, &["other", "posthouse-verify=t0ken"]), Ok);
    assert_eq!(judged(Purpose::Ownership, &["posthouse-verify=else"]), Mismatch);
    assert_eq!(judged(Purpose::Dmarc, &["v=DMARC1; p=reject; rua=mailto:a@one.example"]), Ok);
    assert_eq!(judged(Purpose::Dmarc, &["v=DMARC1; p=Reject"]), Ok);
    assert_eq!(judged(Purpose::Dmarc, &["p=reject; v=DMARC1"]), Missing);
    assert_eq!(judged(Purpose::Dmarc, &["v=spf1 -all"]), Missing);
    assert_eq!(judged(Purpose::Dmarc, &["v=DMARC1; p=maybe"]), Mismatch);
    assert_eq!(judged(Purpose::Dmarc, &["v=DMARC1; p=none", "v=DMARC1; p=none"]), Mismatch);
}

#[test]
fn a_cname_is_compared_as_a_name() {
    use RecordState::{Mismatch, Missing, Ok};
    assert_eq!(judged(Purpose::ReturnPath, &["Return.PostHouse.test."]), Ok);
    assert_eq!(judged(Purpose::ReturnPath, &["return.posthouse.test.one.example"]), Mismatch);
    assert_eq!(judged(Purpose::ReturnPath, &[]), Missing);
}

#[test]
fn trouble_changes_no_state_and_suspension_no_check() {
    let with = |state| -> Vec<DomainRecord> {
        records().into_iter().map(|e| DomainRecord { state, ..DomainRecord::unchecked(e) }).collect()
    };
    use DomainState::{Degraded, Failed, Pending, Suspended, Verified};
    for state in [Pending, Verified, Degraded, Failed, Suspended] {
        assert_eq!(next_state(state, Duration::ZERO, &with(RecordState::Error)), state);
        let fine = if state == Suspended { Suspended } else { Verified };
        assert_eq!(next_state(state, Duration::ZERO, &with(RecordState::Ok)), fine);
    }
    assert_eq!(next_state(Pending, Duration::ZERO, &[]), Pending);
    let missing = with(RecordState::Missing);
    assert_eq!(next_state(Pending, Duration::ZERO, &missing), Pending);
    assert_eq!(next_state(Verified, Duration::ZERO, &missing), Degraded);
    assert_eq!(next_state(Degraded, Duration::from_secs(72 * 3600), &missing), Failed);
    assert_eq!(next_state(Failed, Duration::ZERO, &missing), Failed);
}

proptest! {
    #[test]
    fn whatever_the_dns_says_there_is_a_verdict(texts in proptest::collection::vec(".{0,80}", 0..4)) {
        for record in records() {
            let (state, hint) = judge(&record, &Found::Records(texts.clone()));
            prop_assert_eq!(state == RecordState::Ok, hint.is_empty());
        }
    }
}
