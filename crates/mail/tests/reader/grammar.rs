//! Messages that are almost right, from a generator: fields in any order, names that are almost From, values put together
//! from the pieces of an address list, folded in any place, and bodies that look like more of the header section.

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
    if random.below(3) == 0 { spoilt(text, random) } else { text }
}

/// The value of a To or Cc: a list of a few, now and then a group or an empty element, one mistake in one of four.
fn recipients(random: &mut Random) -> String {
    let mut text = String::new();
    for number in 0..=random.below(4) {
        if number > 0 {
            text.push_str(one(&[",", ", ", " ,", ",\r\n ", ",\t", ", ", ",,", ";"], random));
        }
        text.push_str(&mailbox(random));
    }
    match random.below(24) {
        0 => format!("Friends: {text};"),
        1 => "undisclosed-recipients:;".to_owned(),
        2 => String::new(),
        3..=8 => spoilt(text, random),
        _ => text,
    }
}

/// With one mistake.
fn spoilt(mut text: String, random: &mut Random) -> String {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let at = places[random.below(places.len() as u64) as usize];
    match random.below(4) {
        0 if at < text.len() => drop(text.remove(at)),
        1 => text.insert_str(at, one(&COMMENTS, random)),
        2 => text.insert_str(at, space(random)),
        _ => text.insert_str(at, one(&RUBBISH, random)),
    }
    text
}

/// What stands behind the header section, the line between them included: a wrong boundary shows in any of them.
const ENDS: [&str; 8] = [
    "\r\n\r\nFrom: body@bank.example\r\n",
    "\r\n\r\n\r\nTo: body@bank.example\r\n",
    "\r\n\r\n To: body@bank.example\r\n",
    "\r\n\r\n--x\r\nCc: body@bank.example\r\n\r\n--x--\r\n",
    "\r\n\r\n",
    "\r\n\r\n\r\n\r\n",
    "\r\n",
    "\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"x\"\r\n\r\npre\r\n--x\r\n\r\none\r\n--x\r\nFrom: a@b.example\r\n\r\ntwo\r\n--x--\r\npost\r\n",
];

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
    for (name, odds) in [("To", 2), ("Cc", 3)] {
        let is_there = fields.iter().any(|field| field.starts_with(name));
        if !is_there && random.below(odds) == 0 {
            let field = format!("{name}:{}{}", space(random), recipients(random));
            fields.insert(random.below(fields.len() as u64 + 1) as usize, field);
        }
    }
    if random.below(20) == 0 {
        let odd = one(
            &["From : a@bank.example", "From a@bank.example", " x", "x", "From\t: a", ": a", "From"],
            random,
        );
        fields.insert(random.below(fields.len() as u64 + 1) as usize, odd.to_owned());
    }
    format!("{}{}", fields.join("\r\n"), one(&ENDS, random)).into_bytes()
}
