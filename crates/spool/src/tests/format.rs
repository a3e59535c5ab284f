//! The format on the disk: a segment written by the first version, which every later one must read, word for word.
//!
//! `fixtures/00000001.seg` is never written again. When the format grows, a second file joins it.

use super::*;
use crate::record::{Logged, Moved};
use crate::segment::{self, Found, Frame, SEGMENT_HEADER, Scan};
use crate::wire;
use mail::{ApiKeyId, CredentialId, DsnReturn, EnhancedStatus, Notify, Reply, ReplyCode, SourceName};
use uuid::Uuid;

const FIXTURE: &[u8] = include_bytes!("fixtures/00000001.seg");
const BODY: &[u8] = b"Subject: a fixture\r\n\r\nWritten once, read for ever.\r\n";
/// A kind that no version has had so far.
const UNKNOWN_KIND: u8 = 77;

fn accepted() -> Accepted {
    Accepted {
        message: MessageId::from_uuid(Uuid::from_u128(1)),
        tenant: TenantId::from_uuid(Uuid::from_u128(2)),
        stream: StreamId::from_uuid(Uuid::from_u128(3)),
        domain: DomainId::from_uuid(Uuid::from_u128(4)),
        credential: Some(CredentialId::from_uuid(Uuid::from_u128(5))),
        api_key: Some(ApiKeyId::from_uuid(Uuid::from_u128(6))),
        pool: PoolId::from_uuid(Uuid::from_u128(7)),
        accepted_at: Timestamp::from_millis(1_795_425_249_120),
        not_before: Some(Timestamp::from_millis(1_795_425_249_121)),
        expires_at: Timestamp::from_millis(1_795_684_449_120),
        reverse_path: ReversePath::parse("news@client.example").unwrap(),
        message_id_header: "<1@client.example>".to_owned(),
        subject: "Grüße".to_owned(),
        header_from: "news@client.example".to_owned(),
        tags: vec!["order".to_owned(), "first".to_owned()],
        metadata: vec![("customer".to_owned(), "17".to_owned())],
        body_kind: BodyKind::EightBitMime,
        smtputf8: true,
        require_tls: true,
        dsn_return: Some(DsnReturn::Headers),
        envelope_id: Some("QQ314159".to_owned()),
        recipients: vec![
            RecipientRecord {
                forward_path: ForwardPath::parse("anna@site.example").unwrap(),
                reverse_path: ReversePath::parse("b+token@rp.client.example").unwrap(),
                notify: Some(Notify::When { success: true, failure: true, delay: false }),
                original: Some("rfc822;anna@site.example".to_owned()),
            },
            RecipientRecord {
                forward_path: ForwardPath::parse("bert@site.example").unwrap(),
                reverse_path: ReversePath::Null,
                notify: Some(Notify::Never),
                original: None,
            },
        ],
        size: BODY.len() as u64,
    }
}

fn attempted() -> Attempted {
    let accepted = accepted();
    Attempted {
        message: accepted.message,
        tenant: accepted.tenant,
        stream: accepted.stream,
        recipient: 1,
        attempt: 3,
        at: Timestamp::from_millis(1_795_425_250_000),
        outcome: Outcome {
            verdict: Verdict::Deferred,
            class: Class::stored("remote.down"),
            kind: ClassKind::Throttle,
            scope: Scope::Path,
            stage: "final-dot",
            reply: Some(Reply {
                code: ReplyCode::new(451).unwrap(),
                enhanced: Some(EnhancedStatus::new(4, 7, 1)),
                lines: vec!["slow down".to_owned(), "please".to_owned()],
            }),
            trouble: Some("no answer".to_owned()),
            status: None,
            rule: Some("rule-9".into()),
            mx: Some("mx1.site.example".to_owned()),
            egress: Some("192.0.2.7".parse().unwrap()),
            tls: Some("TLSv1.3".to_owned()),
            provider: "other".into(),
        },
        source: Some(SourceName::new("source-1")),
        site: SiteName::new("site.example"),
        next_at: Timestamp::from_millis(1_795_425_310_000),
        duration_ms: 42,
        queued_ms: 7,
    }
}

fn settled() -> Settled {
    let attempted = attempted();
    Settled {
        message: attempted.message,
        tenant: attempted.tenant,
        stream: attempted.stream,
        recipient: 0,
        attempt: 1,
        at: attempted.at,
        settlement: Settlement::Bounced,
        outcome: Some(Outcome { verdict: Verdict::Failed, ..attempted.outcome }),
        source: attempted.source,
        site: Some(attempted.site),
        duration_ms: 5,
        queued_ms: 6,
    }
}

fn open_recipients() -> Vec<RecipientState> {
    vec![RecipientState {
        recipient: 1,
        attempt: 3,
        next_at: Some(Timestamp::from_millis(1_795_425_310_000)),
    }]
}

/// What the fixture holds, in its order.
fn contents() -> Vec<Logged> {
    let from = Position::new(1, SEGMENT_HEADER.len() as u32);
    let moved = Moved { accepted: Arc::new(accepted()), from, open: open_recipients() };
    let records = [
        Record::Accepted(Arc::new(accepted())),
        Record::Settled(settled()),
        Record::Attempted(attempted()),
        Record::Unknown { kind: UNKNOWN_KIND, version: 1 },
    ];
    let records = records.into_iter().map(|record| Logged::Record(Arc::new(record)));
    records.chain([Logged::Moved(Arc::new(moved))]).collect()
}

/// The fixture as this version would write it.
fn written() -> Vec<u8> {
    let body = Bytes::from_static(BODY);
    let first = wire::accepted_frame(&accepted(), body.clone());
    let meta = first.meta().to_vec();
    let unknown = Frame::new(UNKNOWN_KIND, 1, Bytes::from_static(b"body"), |head| head.extend(b"from later"));
    let frames = [
        first,
        wire::outcome_frame(&OutcomeRecord::Settled(settled())),
        wire::outcome_frame(&OutcomeRecord::Attempted(attempted())),
        unknown,
        wire::moved_frame(meta, Position::new(1, 32), &open_recipients(), body),
    ];
    let mut octets = SEGMENT_HEADER.to_vec();
    for mut frame in frames {
        frame.place(Position::new(1, octets.len() as u32));
        octets.extend(&frame.head);
        octets.extend(&frame.body[..]);
    }
    octets
}

#[test]
fn every_record_of_the_first_version_is_read_as_it_was_meant() {
    let disk = LyingDisk::new();
    disk.replace(&segment_path(1), FIXTURE.to_vec());
    let file = crate::Disk::open(&disk, &segment_path(1)).unwrap();
    let mut scan = Scan::new(file, Position::new(1, 0), FIXTURE.len() as u64, segment::Bodies::Check);
    let mut read = Vec::new();
    while let Some(found) = scan.next().unwrap() {
        let Found::Frame { header, meta, .. } = found else { panic!("damage: {found:?}") };
        read.push(wire::decode(header.kind, header.version, &meta).unwrap());
    }
    assert_eq!(read, contents());
}

#[test]
fn this_version_writes_what_the_first_one_wrote() {
    assert!(written() == FIXTURE, "the octets on the disk have changed: an older program may not read them");
}

#[tokio::test]
async fn a_journal_of_the_first_version_is_taken_up_and_nothing_unknown_is_lost() {
    let disk = LyingDisk::new();
    disk.replace(&segment_path(1), FIXTURE.to_vec());
    let (spool, mut recovery) = open(&super::forward::eager(), &disk);
    assert_eq!((recovery.unknown(), recovery.quarantined().len(), recovery.torn.clone()), (1, 0, None));
    let waiting = recovery.unsettled.next().unwrap();
    assert_eq!((&*waiting.accepted, &waiting.recipients), (&accepted(), &open_recipients()));
    assert_eq!(spool.body(waiting.position).await.unwrap(), BODY);
    let mut follower = spool.follow(Position::START);
    let batch = follower.next_batch(10).await.unwrap();
    let told: Vec<Record> = batch.iter().map(|(_, record)| (**record).clone()).collect();
    let expected: Vec<Record> = contents()
        .into_iter()
        .filter_map(|logged| match logged {
            Logged::Record(record) => Some((*record).clone()),
            Logged::Moved(_) => None,
        })
        .collect();
    assert_eq!(told, expected, "the copy is no news, the unknown is shown as such");
    // Settled, passed by and the log long gone on: what this program does not know is still there, octet for octet.
    let records = vec![OutcomeRecord::Settled(Settled { recipient: 1, ..settled() })];
    spool.outcomes().append_durable(records).await.unwrap();
    for number in 0..30 {
        append(&spool, number..number + 1).await;
        super::forward::settle(&spool, number..number + 1).await.unwrap();
    }
    spool.until_trimmed();
    assert_eq!(spool.status().pinned, 1);
    drop((spool, follower));
    open(&super::forward::eager(), &disk);
    assert!(disk.read(&segment_path(1)).starts_with(FIXTURE));
}

/// Makes a fixture for a new version: `FIXTURE_FILE=… cargo nextest run -p spool --run-ignored only`.
#[test]
#[ignore = "writes a file; for whoever changes the format"]
fn write_fixture() {
    let file = std::env::var_os("FIXTURE_FILE").unwrap();
    std::fs::write(file, written()).unwrap();
}
