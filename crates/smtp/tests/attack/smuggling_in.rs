//! M1: what some server takes for the end of a message. Nine sequences, and some more; at every split point, pipelined
//! or not, after a message by BDAT, inside a chunk, and however the client came in.
//!
//! Each attack is followed by an honest message. Of all that is sent exactly that one is accepted, nobody is ever asked
//! about a path of the attacker's, and the replies are those to the commands that were really given.

use crate::door::{Door, WAYS, Way};
use crate::nine::NINE;
use smtp::Limits;
use smtp::data::{DataReader, Progress};

/// Besides the nine.
const MORE: [&[u8]; 7] =
    [b"\r\n.\n", b"\r\n.\r", b"\r\n.\0\r\n", b"\r\n.\x0b\n", b"\r\n.\x1a\n", b"\n\n.\n\n", b"\n\n.\r\n\n"];

fn all() -> impl Iterator<Item = &'static [u8]> {
    NINE.into_iter().map(str::as_bytes).chain(MORE)
}

const SMUGGLED: &[u8] =
    b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<evil@example.org>\r\nDATA\r\nsmuggled\r\n.\r\n";
const ENVELOPE: &[u8] = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@example.org>\r\n";
const HONEST: &[u8] = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nhonest\r\n.\r\n";
const BY_CHUNK: &[u8] =
    b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@example.org>\r\nBDAT 7 LAST\r\nfirst\r\n";

/// What is sent, and what must be answered.
struct Attack {
    name: &'static str,
    wire: Vec<u8>,
    codes: Vec<u16>,
    accepted: Vec<&'static [u8]>,
}

fn attacks(sequence: &[u8]) -> Vec<Attack> {
    let text = [b"x", sequence, SMUGGLED].concat();
    let by_data = [ENVELOPE, b"DATA\r\n", &text].concat();
    let chunk = [ENVELOPE, format!("BDAT {} LAST\r\n", text.len()).as_bytes(), &text].concat();
    // The sequence lies across the border of two chunks.
    let (first, second) = text.split_at(2);
    let (one, two) = (format!("BDAT {}\r\n", first.len()), format!("BDAT {} LAST\r\n", second.len()));
    let chunks = [ENVELOPE, one.as_bytes(), first, two.as_bytes(), second].concat();
    let honest = [250, 250, 354, 250];
    vec![
        Attack {
            name: "DATA",
            wire: [&by_data[..], HONEST].concat(),
            codes: [&[250, 250, 354, 554][..], &honest].concat(),
            accepted: vec![b"honest\r\n"],
        },
        Attack {
            name: "DATA after BDAT",
            wire: [BY_CHUNK, &by_data, HONEST].concat(),
            codes: [&[250, 250, 250, 250, 250, 354, 554][..], &honest].concat(),
            accepted: vec![b"first\r\n", b"honest\r\n"],
        },
        Attack {
            name: "BDAT",
            wire: [&chunk[..], HONEST].concat(),
            codes: [&[250, 250, 554][..], &honest].concat(),
            accepted: vec![b"honest\r\n"],
        },
        Attack {
            name: "two BDAT",
            wire: [&chunks[..], HONEST].concat(),
            codes: [&[250, 250, 250, 554][..], &honest].concat(),
            accepted: vec![b"honest\r\n"],
        },
    ]
}

fn judge(attack: &Attack, mut door: Door, how: &str) {
    let name = attack.name;
    assert_eq!(door.codes(), attack.codes, "{name} {how}");
    assert_eq!(door.accepted, attack.accepted, "{name} {how}");
    let evil = door.paths.iter().find(|path| path.starts_with("evil"));
    assert_eq!(evil, None, "{name} {how}: a smuggled command was obeyed");
    assert!(!door.closed, "{name} {how}");
}

/// The reader by itself: what it takes for the end, and that it refuses what went before.
#[test]
fn no_other_sequence_than_crlf_dot_crlf_ends_a_message() {
    let limits = Limits::default();
    for sequence in all() {
        let wire = [b"a\r\nb", sequence, b"QUIT\r\n.\r\nNOOP\r\n"].concat();
        for cut in 0..wire.len() {
            let shown = format!("{} cut at {cut}", sequence.escape_ascii());
            let mut reader = DataReader::new(&limits, None);
            let (first, second) = wire.split_at(cut);
            let used = match reader.read(first) {
                Progress::End(used) => used,
                Progress::More => match reader.read(second) {
                    Progress::End(used) => cut + used,
                    Progress::More => panic!("{shown}: no end"),
                },
            };
            assert_eq!(wire[used..].escape_ascii().to_string(), "NOOP\\r\\n", "{shown}");
            assert!(reader.finish(&limits).is_err(), "{shown}");
        }
    }
}

#[test]
fn no_sequence_makes_two_messages_wherever_the_octets_are_split() {
    let mut tried = 0;
    for sequence in all() {
        for attack in attacks(sequence) {
            for way in WAYS {
                // Pipelined, in two pieces: at every place.
                for cut in 0..=attack.wire.len() {
                    let mut door = Door::open(way, Limits::default());
                    let (first, second) = attack.wire.split_at(cut);
                    door.hear(first);
                    door.hear(second);
                    judge(&attack, door, &format!("{way:?} {} cut at {cut}", sequence.escape_ascii()));
                    tried += 1;
                }
                // Pipelined, octet by octet.
                let mut door = Door::open(way, Limits::default());
                attack.wire.chunks(1).for_each(|octet| door.hear(octet));
                judge(&attack, door, &format!("{way:?} {} octets", sequence.escape_ascii()));
            }
        }
    }
    println!("M1: {tried} attacks of {} sequences in two pieces", all().count());
}

/// A client that waits for 354 before it says more, and for the answer before it goes on: three pieces, the middle one
/// begins or ends at every place of the text.
#[test]
fn nor_when_the_client_waits_for_each_answer() {
    for sequence in all() {
        let text = [b"x", sequence, SMUGGLED].concat();
        for way in [Way::ImplicitTls, Way::StartTls] {
            for cut in 0..=text.len() {
                for width in [1, sequence.len()] {
                    let mut door = Door::open(way, Limits::default());
                    for line in ENVELOPE.split_inclusive(|octet| *octet == b'\n') {
                        door.hear(line);
                        assert_eq!(door.codes(), [250]);
                    }
                    door.hear(b"DATA\r\n");
                    assert_eq!(door.codes(), [354]);
                    let end = (cut + width).min(text.len());
                    for piece in [&text[..cut], &text[cut..end], &text[end..]] {
                        door.hear(piece);
                    }
                    assert_eq!(door.codes(), [554], "{} at {cut}", sequence.escape_ascii());
                    door.hear(HONEST);
                    assert_eq!(door.codes(), [250, 250, 354, 250]);
                    assert_eq!(door.accepted, [&b"honest\r\n"[..]]);
                    assert!(!door.paths.iter().any(|path| path.starts_with("evil")));
                }
            }
        }
    }
}
