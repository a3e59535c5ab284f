//! `posthouse spool verify` and `posthouse spool inspect`: what is in the journal on the disk.
//!
//! Both only read, so they may run beside the node that owns it; they say so when one does. Bodies are printed only
//! when asked for.

use crate::cli::{SpoolCommand, SpoolInspect, SpoolPlace, SpoolVerify};
use crate::exit::Failure;
use crate::printing::print_line;
use ::spool::inspect::{Content, Inspection, Piece, SegmentReport};
use ::spool::{Accepted, Attempted, Position, RecipientState, Record, Settled};
use mail::MessageId;
use serde_json::{Value, json};
use std::io;
use std::path::PathBuf;

pub fn run(command: &SpoolCommand) -> anyhow::Result<()> {
    match command {
        SpoolCommand::Verify(options) => verify(options),
        SpoolCommand::Inspect(options) => inspect(options),
    }
}

fn open(place: &SpoolPlace) -> anyhow::Result<Inspection> {
    let directory = match (&place.spool, &place.data) {
        (Some(spool), _) => spool.clone(),
        (None, Some(data)) => data.join("spool"),
        (None, None) => PathBuf::new(),
    };
    let inspection = Inspection::open(&directory).map_err(|error| {
        Failure::Unavailable(format!("cannot read the journal in {}: {error}", directory.display()))
    })?;
    if inspection.is_in_use() {
        eprintln!(
            "posthouse: a node is running on this journal; what it writes or removes meanwhile may be missing here"
        );
    }
    Ok(inspection)
}

fn verify(options: &SpoolVerify) -> anyhow::Result<()> {
    let inspection = open(&options.place)?;
    let reports = inspection.verify();
    let damaged: Vec<&SegmentReport> = reports.iter().filter(|report| !report.is_whole()).collect();
    if options.json {
        let segments: Vec<Value> = reports.iter().map(report_json).collect();
        let whole = damaged.is_empty();
        print_line(format_args!(
            "{}",
            json!({"whole": whole, "in_use": inspection.is_in_use(), "segments": segments})
        ))?;
    } else {
        print_line(format_args!("segment       octets    records    waiting  damage"))?;
        for report in &reports {
            print_line(format_args!("{}", report_line(report)))?;
        }
    }
    if damaged.is_empty() {
        return Ok(());
    }
    Err(Failure::Input(format!(
        "{} of {} segments are damaged; the node goes on without the damaged records and keeps copies of them in \
         quarantine",
        damaged.len(),
        reports.len()
    ))
    .into())
}

fn report_line(report: &SegmentReport) -> String {
    let mut remarks: Vec<String> =
        report.damage.iter().map(|(position, octets)| format!("{octets} octets at {position}")).collect();
    remarks.extend(report.unreadable.iter().map(|error| format!("cannot be read: {error}")));
    if report.unfinished_octets > 0 {
        remarks.push(format!("none; ends in an unfinished write of {} octets", report.unfinished_octets));
    }
    if report.unknown > 0 {
        remarks.push(format!("records of a newer version: {}", report.unknown));
    }
    let remarks = if remarks.is_empty() { "none".to_owned() } else { remarks.join("; ") };
    let SegmentReport { segment, octets, records, waiting, .. } = report;
    format!("{segment:08x}  {octets:>10} {records:>10} {waiting:>10}  {remarks}")
}

fn report_json(report: &SegmentReport) -> Value {
    let damage: Vec<Value> = report
        .damage
        .iter()
        .map(|(position, octets)| json!({"position": position.to_string(), "octets": octets}))
        .collect();
    json!({
        "segment": format!("{:08x}", report.segment),
        "octets": report.octets,
        "records": report.records,
        "copies": report.copies,
        "unknown": report.unknown,
        "waiting": report.waiting,
        "unfinished_octets": report.unfinished_octets,
        "damage": damage,
        "unreadable": report.unreadable,
    })
}

fn inspect(options: &SpoolInspect) -> anyhow::Result<()> {
    let inspection = open(&options.place)?;
    let wanted = options.position.map(Position::segment);
    let segments = inspection.segments().iter().filter(|segment| wanted.is_none_or(|it| it == **segment));
    let (mut shown, mut failed) = (0_u64, None);
    for segment in segments {
        let read = inspection.pieces(*segment, |piece| {
            if failed.is_none() && is_wanted(options, &piece) {
                shown += 1;
                failed = show(options, &inspection, &piece).err();
            }
        });
        if let Some(error) = failed.take() {
            return Err(error);
        }
        match read {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                eprintln!("posthouse: segment {segment:08x} cannot be read: {error}");
            }
            Err(_) | Ok(()) => {}
        }
    }
    if shown == 0 && (options.message.is_some() || options.position.is_some()) {
        return Err(Failure::Input("there is no such record in this journal".to_owned()).into());
    }
    Ok(())
}

fn is_wanted(options: &SpoolInspect, piece: &Piece) -> bool {
    options.position.is_none_or(|position| position == piece.position)
        && options.message.is_none_or(|message| Some(message) == message_of(&piece.content))
}

fn message_of(content: &Content) -> Option<MessageId> {
    match content {
        Content::Record(record) => record.message(),
        Content::Copy { accepted, .. } => Some(accepted.message),
        Content::Damage | Content::Unfinished => None,
    }
}

fn show(options: &SpoolInspect, inspection: &Inspection, piece: &Piece) -> anyhow::Result<()> {
    let mut value = content_json(&piece.content);
    let holds_body = matches!(&piece.content, Content::Copy { .. })
        || matches!(&piece.content, Content::Record(record) if matches!(**record, Record::Accepted(_)));
    if options.body && holds_body {
        // Lossy: a terminal and JSON want text. The octets themselves are in the segment.
        let body = inspection.body(piece.position)?;
        value["body"] = json!(body.map(|body| String::from_utf8_lossy(&body).into_owned()));
    }
    if options.json {
        value["position"] = json!(piece.position.to_string());
        value["octets"] = json!(piece.octets);
        return print_line(format_args!("{value}"));
    }
    let Value::Object(fields) = value else { return Ok(()) };
    let kind = fields.get("record").and_then(Value::as_str).unwrap_or_default();
    print_line(format_args!("{} {kind}, {} octets", piece.position, piece.octets))?;
    for (name, value) in fields.iter().filter(|(name, value)| *name != "record" && !value.is_null()) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        print_line(format_args!("    {name}: {}", printable(&text)))?;
    }
    Ok(())
}

fn content_json(content: &Content) -> Value {
    match content {
        Content::Damage => json!({"record": "damage"}),
        Content::Unfinished => json!({"record": "unfinished write"}),
        Content::Copy { accepted, from, open } => {
            let mut value = accepted_json(accepted);
            value["record"] = json!("copy");
            value["copied_from"] = json!(from.to_string());
            value["open"] = open.iter().map(open_json).collect();
            value
        }
        Content::Record(record) => match &**record {
            Record::Accepted(accepted) => accepted_json(accepted),
            Record::Attempted(attempted) => attempted_json(attempted),
            Record::Settled(settled) => settled_json(settled),
            Record::Unknown { kind, version } => {
                json!({"record": "unknown", "kind": kind, "version": version})
            }
        },
    }
}

fn accepted_json(accepted: &Accepted) -> Value {
    let recipients: Vec<String> =
        accepted.recipients.iter().map(|recipient| recipient.forward_path.to_string()).collect();
    json!({
        "record": "accepted",
        "message": accepted.message.to_string(),
        "tenant": accepted.tenant.to_string(),
        "stream": accepted.stream.to_string(),
        "accepted_at": accepted.accepted_at.to_string(),
        "not_before": accepted.not_before.map(|at| at.to_string()),
        "expires_at": accepted.expires_at.to_string(),
        "reverse_path": accepted.reverse_path.to_string(),
        "recipients": recipients,
        "subject": accepted.subject,
        "message_id_header": accepted.message_id_header,
        "size": accepted.size,
    })
}

fn open_json(state: &RecipientState) -> Value {
    let next_at = state.next_at.map(|at| at.to_string());
    json!({"recipient": state.recipient, "attempt": state.attempt, "next_at": next_at})
}

fn attempted_json(attempted: &Attempted) -> Value {
    json!({
        "record": "attempted",
        "message": attempted.message.to_string(),
        "tenant": attempted.tenant.to_string(),
        "recipient": attempted.recipient,
        "attempt": attempted.attempt,
        "at": attempted.at.to_string(),
        "site": attempted.site.to_string(),
        "class": attempted.outcome.class.to_string(),
        "reply": attempted.outcome.reply.as_ref().map(mail::Reply::to_line),
        "trouble": attempted.outcome.trouble,
        "next_at": attempted.next_at.to_string(),
    })
}

fn settled_json(settled: &Settled) -> Value {
    let outcome = settled.outcome.as_ref();
    json!({
        "record": "settled",
        "message": settled.message.to_string(),
        "tenant": settled.tenant.to_string(),
        "recipient": settled.recipient,
        "attempt": settled.attempt,
        "at": settled.at.to_string(),
        "settlement": settled.settlement.as_str(),
        "site": settled.site.as_ref().map(ToString::to_string),
        "reply": outcome.and_then(|outcome| outcome.reply.as_ref()).map(mail::Reply::to_line),
    })
}

/// What a stranger wrote must not steer the terminal, nor look like a line of ours.
fn printable(text: &str) -> String {
    let harmless = |letter: char| if letter.is_control() && letter != '\n' { '\u{FFFD}' } else { letter };
    text.replace("\r\n", "\n").chars().map(harmless).collect::<String>().replace('\n', "\n        ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A segment with a record of each kind.
    const SEGMENT: &[u8] = include_bytes!("../../../spool/src/tests/fixtures/00000001.seg");

    fn place(directory: &Path) -> SpoolPlace {
        SpoolPlace { data: None, spool: Some(directory.to_owned()) }
    }

    fn verify_in(directory: &Path) -> anyhow::Result<()> {
        verify(&SpoolVerify { place: place(directory), json: false })
    }

    fn inspect_in(
        directory: &Path,
        message: Option<MessageId>,
        position: Option<&str>,
    ) -> anyhow::Result<()> {
        let position = position.map(|text| text.parse().unwrap());
        let place = place(directory);
        inspect(&SpoolInspect { place, message, position, body: true, json: true })
    }

    #[test]
    fn damage_ends_in_exit_code_65_and_a_missing_journal_in_a_sentence() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("00000001.seg");
        std::fs::write(&file, SEGMENT).unwrap();
        std::fs::write(place.path().join("00000002.seg"), &SEGMENT[..32]).unwrap();
        verify_in(place.path()).unwrap();
        let mut octets = SEGMENT.to_vec();
        octets[100] ^= 1;
        std::fs::write(&file, octets).unwrap();
        let error = verify_in(place.path()).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Failure::Input(_))), "{error}");
        let error = verify_in(&place.path().join("nowhere")).unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");
    }

    #[test]
    fn records_are_found_by_message_and_by_position() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("00000001.seg"), SEGMENT).unwrap();
        let inspection = Inspection::open(place.path()).unwrap();
        let (mut kinds, mut messages) = (Vec::new(), Vec::new());
        let note = |piece: Piece| {
            kinds.push(content_json(&piece.content)["record"].as_str().unwrap().to_owned());
            messages.extend(message_of(&piece.content));
        };
        inspection.pieces(1, note).unwrap();
        assert_eq!(kinds, ["accepted", "settled", "attempted", "unknown", "copy"]);
        inspect_in(place.path(), Some(messages[0]), None).unwrap();
        inspect_in(place.path(), None, Some("00000001:00000020")).unwrap();
        assert!(inspect_in(place.path(), None, Some("00000001:00000021")).is_err());
        assert!(inspect_in(place.path(), None, Some("00000009:00000020")).is_err());
    }

    #[test]
    fn a_subject_does_not_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc"), "a\u{FFFD}[2Jb\n        c");
    }
}
