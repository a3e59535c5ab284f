//! Messages that are almost right, from a generator: fields in any order, names that are almost From, values put together
//! from the pieces of an address list, folded in any place.

use mail::Random;

fn one<'a>(of: &[&'a str], random: &mut Random) -> &'a str {
    of[random.below(of.len() as u64) as usize]
}

const ATOMS: [&str; 8] =
    ["a", "Anna", "b.c", "x+y", "admin", "J.", "=?utf-8?q?J=C3=B6?=", "=?utf-8?b?YUBiLmM=?="];
const DOMAINS: [&str; 5] =
    ["client.example", "bank.example", "XN--BCHER-KVA.example", "b-c.example", "Client.Example"];
const QUOTED: [&str; 6] = ["\"a b\"", "\"a@bank.example\"", "\"x, y\"", "\"a\\\"b\"", "\"<q>\"", "\"(\""];
const COMMENTS: [&str; 5] = ["(x)", "(a (b) c)", "(a@bank.example)", "(<a@bank.example>)", "(\\))"];
const RUBBISH: [&str; 10] = [",", ";", ":", "<", ">", "@", "\"", "\\", "(", ")"];
const SPACES: [&str; 6] = ["", "", " ", "  ", "\t", "\r\n "];

fn space(random: &mut Random) -> &'static str {
    one(&SPACES, random)
}

fn address(random: &mut Random) -> String {
    let local = if random.below(8) == 0 { one(&QUOTED, random) } else { one(&ATOMS[..5], random) };
    format!("{local}@{}", one(&DOMAINS, random))
}

fn name(random: &mut Random) -> String {
    let mut name = String::new();
    for _ in 0..random.below(4) {
        let word = match random.below(4) {
            0 => one(&QUOTED, random),
            _ => one(&ATOMS, random),
        };
        name.push_str(word);
        name.push_str(if random.below(10) == 0 { "" } else { " " });
    }
    name
}

fn comment(random: &mut Random) -> &'static str {
    if random.below(4) == 0 { one(&COMMENTS, random) } else { "" }
}

fn mailbox(random: &mut Random) -> String {
    let mut text = comment(random).to_owned();
    if random.below(3) == 0 {
        text.push_str(&address(random));
    } else {
        text.push_str(&name(random));
        text.push_str(comment(random));
        text.push_str(space(random));
        text.push_str(&format!("<{}>", address(random)));
    }
    text.push_str(space(random));
    text.push_str(comment(random));
    text
}

fn list(random: &mut Random) -> String {
    let mut text = mailbox(random);
    if random.below(12) == 0 {
        text.push_str(one(&[",", " ", ", ", ";"], random));
        text.push_str(&mailbox(random));
    }
    // One mistake in one of three.
    if random.below(3) == 0 {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let at = places[random.below(places.len() as u64) as usize];
        match random.below(4) {
            0 if at < text.len() => drop(text.remove(at)),
            1 => text.insert_str(at, one(&COMMENTS, random)),
            2 => text.insert_str(at, space(random)),
            _ => text.insert_str(at, one(&RUBBISH, random)),
        }
    }
    text
}

const NAMES: [&str; 12] = [
    "To",
    "Cc",
    "Subject",
    "X-From",
    "Resent-From",
    "Received",
    "From-",
    "Froms",
    "List-Id",
    "Comments",
    "X-A",
    "Sender",
];

pub fn message(random: &mut Random) -> Vec<u8> {
    let mut fields: Vec<String> = Vec::new();
    for _ in 0..random.below(4) {
        let value = if random.below(2) == 0 { list(random) } else { one(&ATOMS, random).to_owned() };
        fields.push(format!("{}:{}{value}", one(&NAMES, random), space(random)));
    }
    let at = random.below(fields.len() as u64 + 1) as usize;
    let from = one(&["From", "from", "FROM", "From"], random);
    fields.insert(at, format!("{from}:{}{}", space(random), list(random)));
    if random.below(20) == 0 {
        let odd = one(
            &["From : a@bank.example", "From a@bank.example", " x", "x", "From\t: a", ": a", "From"],
            random,
        );
        fields.insert(random.below(fields.len() as u64 + 1) as usize, odd.to_owned());
    }
    format!("{}\r\n\r\nFrom: body@bank.example\r\n", fields.join("\r\n")).into_bytes()
}
