//! M15: commands in any order, from an alphabet that has everything in it. A million steps, no panic, and at every step
//! what must hold of a session.

use crate::door::{Door, WAYS};
use mail::Random;
use smtp::Limits;
use smtp::server::{Role, TlsMode};

const STEPS: u64 = 1_000_000;
const ALPHABET: [&[u8]; 58] = [
    b"EHLO client.example\r\n",
    b"HELO client.example\r\n",
    b"EHLO \r\n",
    b"LHLO client.example\r\n",
    b"MAIL FROM:<a@client.example>\r\n",
    b"MAIL FROM:<a@client.example> SIZE=5\r\n",
    b"MAIL FROM:<> BODY=8BITMIME\r\n",
    b"MAIL FROM:<a@client.example> SIZE=99999999999\r\n",
    b"MAIL FROM:<\"a b\"@client.example> SMTPUTF8\r\n",
    b"MAIL FROM: <a@client.example>\r\n",
    b"MAIL TO:<a@client.example>\r\n",
    b"RCPT TO:<b@example.org>\r\n",
    b"RCPT TO:<c@example.org> NOTIFY=NEVER\r\n",
    b"RCPT TO:<nobody@example.org>\r\n",
    b"RCPT TO:<@a,@b:c@example.org>\r\n",
    b"RCPT TO:<postmaster>\r\n",
    b"DATA\r\n",
    b"DATA x\r\n",
    b"Subject: x\r\n\r\nbody\r\n.\r\n",
    b".\r\n",
    b"\r\n.\r\n",
    b"..\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\0\0\0\0\r\n",
    b"BDAT 4\r\n",
    b"BDAT 4 LAST\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 0\r\n",
    b"BDAT 1000000000000\r\n",
    b"BDAT x\r\n",
    b"ab\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"NOOP x y z\r\n",
    b"QUIT\r\n",
    b"QUIT\r\nQUIT\r\n",
    b"STARTTLS\r\n",
    b"STARTTLS\r\nRSET\r\n",
    b"AUTH PLAIN AGFubmEAc2VjcmV0\r\n",
    b"AUTH PLAIN\r\n",
    b"AUTH LOGIN\r\n",
    b"AUTH CRAM-MD5\r\n",
    b"AGFubmEAc2VjcmV0\r\n",
    b"*\r\n",
    b"VRFY root\r\n",
    b"EXPN all\r\n",
    b"TURN\r\n",
    b"HELP\r\n",
    b"__proto__: x\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\xff\xf4\xff\xfd\x06",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
];

fn limits() -> Limits {
    Limits { message_octets_max: 300, recipients_max: 5, ..Limits::default() }
}

#[test]
fn a_million_steps_in_any_order() {
    let mut random = Random::from_number(15);
    let (mut sessions, mut accepted, mut steps) = (0, 0, 0);
    while steps < STEPS {
        sessions += 1;
        let known = random.below(4) > 0;
        let mut door = match random.below(4) {
            way @ 0..3 if known => Door::open(WAYS[way as usize], limits()),
            _ => Door::new(Role::Submission, TlsMode::Offered, limits()),
        };
        for _ in 0..200 {
            // Now and then the order that leads somewhere, or octets of no meaning.
            match random.below(16) {
                0 => door.hear(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"),
                1 => {
                    let mut octets = vec![0; random.below(60) as usize];
                    random.fill(&mut octets);
                    door.hear(&octets);
                }
                _ => door.hear(ALPHABET[random.below(ALPHABET.len() as u64) as usize]),
            }
            steps += 1;
            assert!(door.claimed_octets() <= 300, "more is kept than a message may have");
            if door.closed {
                break;
            }
        }
        for raw in &door.accepted {
            assert_eq!(smtp::data::check_lines(raw, Some(998)), Ok(()));
            assert!(raw.len() <= 300);
        }
        // Every reply that was given is one: the reader of replies complains otherwise.
        door.codes();
        accepted += door.accepted.len();
        if door.closed {
            // A session that is over says and takes nothing more.
            door.hear(b"MAIL FROM:<a@client.example>\r\nQUIT\r\n");
            assert!(door.codes().is_empty());
        }
    }
    println!("M15: {steps} steps in {sessions} sessions, {accepted} messages accepted");
    assert!(accepted > 1_000, "the walks reach nothing");
}
