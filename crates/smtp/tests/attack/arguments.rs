//! M5: arguments that would be two commands, two words or a line of a log, in every place where a client gives one.
//!
//! Each is refused with a permanent reply, nobody is asked about it and the reply repeats none of it. The session goes on,
//! unless a bare LF leaves open where the command ended: then what follows it is obeyed by nobody.

use crate::door::{Door, Way};
use smtp::Limits;

/// What is put into each argument.
const POISON: [&[u8]; 16] = [
    b"\r",
    b"\n",
    b"\0",
    b"\rRCPT TO:<evil@example.org>",
    b"\nRCPT TO:<evil@example.org>",
    b"\0RCPT TO:<evil@example.org>",
    b"\xe2\x80\xa8RCPT TO:<evil@example.org>",
    b"\xe2\x80\xa9",
    b"\xc2\x85",
    // CR and LF in overlong UTF-8.
    b"\xc0\x8d\xc0\x8a",
    b"\xe0\x80\x8d\xe0\x80\x8a",
    b"\xff\xfe",
    b"\x1b[31m",
    b"\x7f",
    b"\x0b\x0c",
    b" RCPT TO:<evil@example.org>",
];
/// Where it goes: at the `*`.
const PLACES: [&str; 16] = [
    "EHLO client*.example",
    "HELO *",
    "MAIL FROM:<a*@client.example>",
    "MAIL FROM:<a@client*.example>",
    "MAIL FROM:<a@client.example*>",
    "MAIL FROM:<a@client.example>*",
    "MAIL FROM:<a@client.example> SIZE=1*",
    "MAIL FROM:<a@client.example> BODY=8BITMIME*",
    "MAIL FROM:<a@client.example> RET=FULL*",
    "MAIL FROM:<a@client.example> ENVID=q*",
    "MAIL FROM:<a@client.example> AUTH=a*@b.example",
    "MAIL FROM:<a@client.example> X*Y=1",
    "RCPT TO:<b*@example.org>",
    "RCPT TO:<b@example*.org>",
    "RCPT TO:<b@example.org> ORCPT=rfc822;b*",
    "RCPT TO:<b@example.org> NOTIFY=NEVER*",
];
/// Text that is no octet of its own but that some program behind us would turn into one.
const ENCODED: [&str; 4] = ["%0d%0aRCPT", "=0D=0A", "\\r\\n", "&#13;&#10;"];

fn door(place: &str) -> Door {
    let limits = Limits { errors_max: 1_000, ..Limits::default() };
    let mut door = Door::open(Way::ImplicitTls, limits);
    if place.starts_with("RCPT") {
        door.hear(b"MAIL FROM:<a@client.example>\r\n");
        assert_eq!(door.codes(), [250]);
    }
    door
}

#[test]
fn an_argument_that_could_be_more_than_one_is_refused_in_every_place() {
    for place in PLACES {
        for poison in POISON {
            let (before, after) = place.split_once('*').unwrap();
            let line = [before.as_bytes(), poison, after.as_bytes(), b"\r\n"].concat();
            for cut in 0..line.len() {
                let mut door = door(place);
                let asked = door.paths.len();
                door.hear(&line[..cut]);
                door.hear(&line[cut..]);
                let shown = line.escape_ascii().to_string();
                let said = door.text();
                assert!(
                    said.bytes().all(|b| b == b'\r' || b == b'\n' || (32..127).contains(&b)),
                    "{shown}: {said:?}"
                );
                assert!(!said.contains("evil") && !said.contains("[31m"), "{shown}: {said}");
                for reply in said.lines() {
                    assert!(reply.starts_with('5'), "{shown}: {reply}");
                }
                assert_eq!(said.lines().count(), 1, "{shown}: {said}");
                assert_eq!(door.paths.len(), asked, "{shown}: somebody was asked");
                assert_eq!(door.closed, poison.contains(&b'\n'), "{shown}");
                door.hear(b"NOOP\r\n");
                assert_eq!(door.codes(), if door.closed { vec![] } else { vec![250] }, "{shown}");
            }
        }
    }
}

/// They stay the characters that they are: in an address, and in xtext where `+0D` stands for one, too.
#[test]
fn what_stands_for_a_line_end_is_never_turned_into_one() {
    for text in ENCODED {
        let mut door = door("MAIL");
        door.hear(format!("MAIL FROM:<{text}@client.example>\r\n").as_bytes());
        let codes = door.codes();
        assert!(codes == [250] || codes == [501], "{text}: {codes:?}");
        for path in &door.paths {
            assert_eq!(*path, format!("{text}@client.example"));
        }
    }
    let mut door = door("RCPT");
    door.hear(b"RCPT TO:<b@example.org> ORCPT=rfc822;b+0D+0ARCPT\r\n");
    assert_eq!(door.codes(), [250]);
    assert_eq!(door.paths, ["a@client.example", "b@example.org"]);
}

/// M7: a command of every length around its limit and far beyond.
#[test]
fn a_command_of_any_length_has_one_reply_and_the_next_one_is_understood() {
    let limits = Limits { errors_max: 1_000, ..Limits::default() };
    let max = limits.command_octets_max;
    for length in [max - 1, max, max + 1, 2 * max, 64 * 1024, 1024 * 1024] {
        for piece in [1_usize, 100, 4096, usize::MAX] {
            if piece == 1 && length > 2 * max {
                continue;
            }
            let mut door = Door::open(Way::ImplicitTls, limits.clone());
            let line = [b"NOOP ".as_slice(), &vec![b'x'; length - 7], b"\r\nNOOP\r\n"].concat();
            line.chunks(piece).for_each(|piece| door.hear(piece));
            let first = if length <= max { 250 } else { 500 };
            assert_eq!(door.codes(), [first, 250], "{length} in pieces of {piece}");
            // One that ends with LF alone has the same two readings as a short one.
            let mut door = Door::open(Way::ImplicitTls, limits.clone());
            let line = [b"NOOP ".as_slice(), &vec![b'x'; length - 7], b"\nNOOP\r\n"].concat();
            line.chunks(piece).for_each(|piece| door.hear(piece));
            assert!(
                door.codes().iter().all(|code| *code == 500) && door.closed,
                "{length} in pieces of {piece}"
            );
        }
    }
}
