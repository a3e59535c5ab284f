//! Every record is read back as it was written, whatever it holds; no octets make the decoder panic.

use super::*;
use crate::record::{Logged, Moved};
use crate::wire;
use mail::{ApiKeyId, CredentialId, DsnReturn, EnhancedStatus, Notify, Reply, ReplyCode, SourceName};
use proptest::prelude::*;

prop_compose! {
    fn outcomes()(
        verdict in prop_oneof![Just(Verdict::Delivered), Just(Verdict::Deferred), Just(Verdict::Failed)],
        kind in prop_oneof![
            Just(ClassKind::Hard), Just(ClassKind::Soft), Just(ClassKind::Block), Just(ClassKind::Throttle), Just(ClassKind::Infra)
        ],
        scope in prop_oneof![
            Just(Scope::Recipient), Just(Scope::Message), Just(Scope::Session), Just(Scope::Path), Just(Scope::Site)
        ],
        stage in prop_oneof![Just("connect"), Just("auth"), Just("final-dot"), Just("queue")],
        code in 200..600_u16,
        texts in proptest::collection::vec(proptest::option::of(".{0,40}"), 5),
        lines in proptest::collection::vec(".{0,40}", 0..3),
        address in proptest::option::of(any::<std::net::IpAddr>()),
        replied in any::<bool>(),
        enhanced in proptest::option::of((2..6_u8, 0..1000_u16, 0..1000_u16)),
        status in proptest::option::of((2..6_u8, 0..1000_u16, 0..1000_u16)),
    ) -> Outcome {
        let reply = Reply {
            code: ReplyCode::new(code).unwrap(),
            enhanced: enhanced.map(|(class, subject, detail)| EnhancedStatus::new(class, subject, detail)),
            lines,
        };
        Outcome {
            verdict, kind, scope, stage,
            class: Class::stored(texts[0].as_deref().unwrap_or("unknown")),
            reply: replied.then_some(reply),
            trouble: texts[1].clone(),
            status: status.map(|(class, subject, detail)| EnhancedStatus::new(class, subject, detail)),
            rule: texts[2].as_deref().map(Into::into),
            mx: texts[3].clone(),
            egress: address,
            tls: texts[4].clone(),
            provider: "gmail".into(),
        }
    }
}

prop_compose! {
    fn messages()(
        number in any::<u64>(), recipients in 0..5_usize, flags in any::<[bool; 8]>(), time in any::<i64>(),
        texts in proptest::collection::vec(".{0,60}", 6), notify in proptest::option::of(any::<[bool; 3]>()),
        dsn_return in prop_oneof![Just(None), Just(Some(DsnReturn::Full)), Just(Some(DsnReturn::Headers))],
    ) -> Accepted {
        let mut random = Random::from_number(number);
        let mut accepted = message(number, recipients);
        let at = Timestamp::from_millis(5);
        accepted.credential = flags[0].then(|| CredentialId::mint(at, &mut random));
        accepted.api_key = flags[1].then(|| ApiKeyId::mint(at, &mut random));
        accepted.not_before = flags[2].then_some(Timestamp::from_millis(time));
        accepted.body_kind = if flags[3] { BodyKind::EightBitMime } else { BodyKind::SevenBit };
        accepted.smtputf8 = flags[4];
        accepted.require_tls = flags[5];
        accepted.dsn_return = dsn_return;
        accepted.envelope_id = flags[6].then(|| texts[0].clone());
        accepted.subject = texts[1].clone();
        accepted.tags = vec![texts[2].clone(), texts[3].clone()];
        accepted.metadata = vec![(texts[4].clone(), texts[5].clone())];
        accepted.size = number;
        for recipient in &mut accepted.recipients {
            recipient.notify = notify.map(|[success, failure, delay]| match flags[7] {
                true => Notify::Never,
                false => Notify::When { success, failure, delay },
            });
            recipient.original = flags[6].then(|| texts[0].clone());
        }
        accepted
    }
}

fn decoded(frame: &crate::segment::Frame) -> Option<Record> {
    match wire::decode(frame.kind(), frame.version(), frame.meta())? {
        Logged::Record(record) => Some(Arc::unwrap_or_clone(record)),
        Logged::Moved(_) => None,
    }
}

proptest! {
    #[test]
    fn an_accepted_message(accepted in messages()) {
        let frame = wire::accepted_frame(&accepted, Bytes::new());
        prop_assert_eq!(decoded(&frame), Some(Record::Accepted(Arc::new(accepted))));
    }

    #[test]
    fn an_attempt_and_a_settlement(outcome in outcomes(), recipient in any::<u32>(), source in proptest::option::of(".{0,20}")) {
        let accepted = message(1, 1);
        let OutcomeRecord::Attempted(mut attempted) = attempted(&accepted, recipient, 7, i64::MAX) else { unreachable!() };
        attempted.outcome = outcome.clone();
        attempted.source = source.map(SourceName::new);
        let record = OutcomeRecord::Attempted(attempted);
        prop_assert_eq!(decoded(&wire::outcome_frame(&record)), Some(Record::from(record)));
        let settlements = [
            Settlement::Delivered, Settlement::Bounced, Settlement::Failed, Settlement::Expired, Settlement::Suppressed,
            Settlement::Cancelled,
        ];
        for settlement in settlements {
            let OutcomeRecord::Settled(mut settled) = settled(&accepted, recipient) else { unreachable!() };
            settled.settlement = settlement;
            settled.outcome = Some(outcome.clone());
            let record = OutcomeRecord::Settled(settled);
            prop_assert_eq!(decoded(&wire::outcome_frame(&record)), Some(Record::from(record)));
        }
    }

    #[test]
    fn a_copy_keeps_the_octets_of_what_was_accepted(
        accepted in messages(), from in any::<u64>(), octets in proptest::collection::vec(any::<u8>(), 0..40),
        open in proptest::collection::vec((0..5_u32, 1..9_u32, proptest::option::of(any::<i64>())), 0..4),
    ) {
        let body = Bytes::from(octets);
        let first = wire::accepted_frame(&accepted, body.clone());
        let open: Vec<RecipientState> = open
            .into_iter()
            .map(|(recipient, attempt, next_at)| RecipientState { recipient, attempt, next_at: next_at.map(Timestamp::from_millis) })
            .collect();
        let meta = wire::accepted_meta(first.kind(), first.version(), first.meta().to_vec()).unwrap();
        let copy = wire::moved_frame(meta, Position::from_u64(from), &open, body);
        let moved = Moved { accepted: Arc::new(accepted), from: Position::from_u64(from), open };
        prop_assert_eq!(wire::decode(copy.kind(), copy.version(), copy.meta()), Some(Logged::Moved(Arc::new(moved))));
        // A copy of the copy holds the same.
        let again = wire::accepted_meta(copy.kind(), copy.version(), copy.meta().to_vec()).unwrap();
        prop_assert_eq!(&again[..], first.meta());
    }

    #[test]
    fn any_octets_are_a_record_or_damage_and_never_a_panic(kind in 0..5_u8, octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(wire::decode(kind, 1, &octets));
    }

    #[test]
    fn a_segment_of_any_octets_is_gone_through_to_its_end(octets in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let disk = LyingDisk::new();
        disk.replace(&segment_path(1), octets.clone());
        disk.replace(&segment_path(2), octets);
        let (_, recovery) = open(&config(), &disk);
        prop_assert_eq!(recovery.unsettled.len(), 0);
    }
}

#[tokio::test]
async fn opening_does_not_read_large_bodies() {
    const BODY: usize = 300_000;
    let disk = LyingDisk::new();
    let config = Config { segment_octets_max: 1 << 20, ..config() };
    let (spool, _) = open(&config, &disk);
    for number in 0..40 {
        let body = Bytes::from(vec![number as u8; BODY]);
        let _ = spool.intake().append(message(number, 1), body).await.unwrap();
    }
    drop(spool);
    let disk = disk.kill();
    let (_, recovery) = open(&config, &disk);
    assert_eq!(recovery.unsettled.len(), 40);
    // The last segment is checked and written anew; of the others the beginning is read at once.
    let read = disk.counts().octets_read;
    assert!(read < 40 * BODY as u64 / 2, "{read}");
}
