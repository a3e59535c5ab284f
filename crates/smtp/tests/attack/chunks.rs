//! M4: BDAT in every order and with every lie, against the model.

use crate::door::{Door, Way};
use crate::model::{self, OCTETS_MAX};
use mail::Random;
use smtp::Limits;

const CASES: u64 = 100_000;
const LINES: [&[u8]; 17] = [
    b"MAIL FROM:<a@client.example>\r\n",
    b"MAIL FROM:<a@client.example>\r\n",
    b"RCPT TO:<b@example.org>\r\n",
    b"RCPT TO:<b@example.org>\r\n",
    b"RCPT TO:<nobody@example.org>\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"EHLO c.example\r\n",
    b"BDAT\r\n",
    b"BDAT -1\r\n",
    b"BDAT 4294967296\r\n",
    b"BDAT 4294967297 LAST\r\n",
    b"BDAT 18446744073709551616 LAST\r\n",
    b"BDAT 3 LAST LAST\r\n",
    b"BDAT 0x3 LAST\r\n",
    b"BDAT 3 LAST\n",
    b"BDAT 9\rLAST\r\n",
];
/// What messages are made of.
const TEXT: [&[u8]; 9] = [b"a", b"bc\r\n", b".", b".\r\n", b"\r\n", b"\r\n.\r\n", b"\r", b"\n", b"RSET\r\n"];

fn limits() -> Limits {
    Limits {
        message_octets_max: OCTETS_MAX,
        errors_max: 10_000,
        idle_commands_max: 10_000,
        ..Limits::default()
    }
}

fn text(random: &mut Random, octets_max: usize) -> Vec<u8> {
    let clean = random.below(3) > 0;
    let mut text = Vec::new();
    for _ in 0..random.below(7) {
        let of = if clean { 5 } else { TEXT.len() as u64 };
        text.extend_from_slice(TEXT[random.below(of) as usize]);
    }
    text.truncate(octets_max);
    text
}

fn conversation(random: &mut Random) -> Vec<u8> {
    let mut wire = Vec::new();
    for _ in 0..=random.below(14) {
        match random.below(12) {
            0..4 => {
                // The broken ones end a session, so they are rarer.
                let of = if random.below(8) == 0 { LINES.len() as u64 } else { 8 };
                wire.extend_from_slice(LINES[random.below(of) as usize]);
            }
            4 => wire.extend_from_slice(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@example.org>\r\n"),
            5 => {
                wire.extend_from_slice(b"DATA\r\n");
                wire.extend_from_slice(&text(random, 30));
                wire.extend_from_slice(b"\r\n.\r\n");
            }
            _ => {
                let contents = text(random, 50);
                // One in eight lies about its size.
                let lie = if random.below(8) == 0 { random.below(12) as i64 - 6 } else { 0 };
                let size = (contents.len() as i64 + lie).max(0);
                let last = if random.below(2) == 0 { " LAST" } else { "" };
                wire.extend_from_slice(format!("BDAT {size}{last}\r\n").as_bytes());
                wire.extend_from_slice(&contents);
            }
        }
    }
    wire
}

#[test]
fn chunks_do_what_the_model_says() {
    let mut random = Random::from_number(3030);
    let (mut accepted, mut closed) = (0, 0);
    for case in 0..CASES {
        let wire = conversation(&mut random);
        let expected = model::expect(&wire);
        let mut door = Door::open(Way::ImplicitTls, limits());
        // In pieces of some length that changes from case to case: 1 cuts at every octet.
        for piece in wire.chunks(1 + random.below(40) as usize) {
            door.hear(piece);
            assert!(door.claimed_octets() <= OCTETS_MAX);
        }
        let shown = || format!("case {case}: {}", wire.escape_ascii());
        assert_eq!(door.codes(), expected.codes, "{}", shown());
        assert_eq!(door.accepted, expected.accepted, "{}", shown());
        assert_eq!(door.closed, expected.closed, "{}", shown());
        accepted += expected.accepted.len();
        closed += usize::from(expected.closed);
    }
    println!("M4: {CASES} conversations, {accepted} messages accepted, {closed} sessions closed");
    assert!(accepted > 10_000 && closed > 1_000, "the cases reach nothing");
}

/// RFC 3030 §2: whatever the size says, the octets of a chunk are never commands.
#[test]
fn a_chunk_is_cut_at_every_octet_and_nothing_of_it_is_obeyed() {
    let text = b"a: b\r\n\r\nRSET\r\nQUIT\r\n.\r\nBDAT 1\r\n";
    for refused in [false, true] {
        let envelope: &[u8] =
            if refused { b"RSET\r\n" } else { b"MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\n" };
        let wire =
            [envelope, format!("BDAT {} LAST\r\n", text.len()).as_bytes(), &text[..], b"NOOP\r\n"].concat();
        for cut in 0..=wire.len() {
            let mut door = Door::open(Way::Inbound, limits());
            door.hear(&wire[..cut]);
            door.hear(&wire[cut..]);
            let wanted: &[u16] = if refused { &[250, 503, 250] } else { &[250, 250, 250, 250] };
            assert_eq!(door.codes(), wanted, "cut at {cut}");
            assert_eq!(door.accepted.len(), usize::from(!refused));
            assert!(!door.closed);
        }
    }
}
