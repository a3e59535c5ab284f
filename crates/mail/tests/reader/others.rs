//! Readers of other people. Each gets all messages at once and gives its reading of each.

use mail::{Domain, Mailbox};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use std::io::Write;
use std::process::{Command, Stdio};

/// What a program makes of a message; `None` for what it does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// In lower case, top first.
    pub names: Option<Vec<String>>,
    pub authors: Vec<String>,
    /// What stands in all To fields together, empty if there is none.
    pub to: Option<Vec<String>>,
    /// The same of Cc.
    pub cc: Option<Vec<String>>,
    /// Everything behind the line that ends the header section.
    pub body: Option<Vec<u8>>,
    /// The types of the parts that hold no parts, in their order.
    pub parts: Option<Vec<String>>,
}

/// How many readings were held against ours, by what was read.
#[derive(Debug, Default)]
pub struct Compared {
    pub authors: usize,
    pub to: usize,
    pub cc: usize,
    /// Of these `to` and `cc`, those with more than one address.
    pub lists: usize,
    pub body: usize,
}

/// Nothing if the program is not here; within, nothing for a message that it cannot read at all.
pub type Read = Box<dyn Fn(&[&[u8]]) -> Option<Vec<Option<Reading>>>>;

pub fn readers() -> Vec<(&'static str, Read)> {
    vec![
        ("mail-parser", Box::new(|raws| Some(raws.iter().map(|raw| Some(mail_parser(raw))).collect()))),
        ("email, policy SMTP", Box::new(|raws| run("python3", &["-c", PYTHON, "smtp"], PYTHON_PROBE, raws))),
        ("email, compat32", Box::new(|raws| run("python3", &["-c", PYTHON, "compat32"], PYTHON_PROBE, raws))),
        ("MailTools", Box::new(|raws| run("perl", &["-e", PERL], PERL_PROBE, raws))),
    ]
}

const PYTHON: &str = include_str!("read.py");
const PYTHON_PROBE: &[&str] = &["-c", "import email.policy"];
const PERL: &str = include_str!("read.pl");
const PERL_PROBE: &[&str] = &["-MMail::Header", "-MMail::Address", "-MJSON::PP", "-e", "1"];

impl Reading {
    /// How another program disagrees with us.
    pub fn differs(&self, theirs: &Reading, compared: &mut Compared) -> Option<String> {
        let plain_all = |list: &[String]| list.iter().map(|text| plain(text)).collect::<Vec<_>>();
        compared.authors += 1;
        if plain_all(&self.authors) != plain_all(&theirs.authors) {
            return Some(format!("the author is {:?} and not {:?}", theirs.authors, self.authors));
        }
        let fields =
            [(&self.to, &theirs.to, &mut compared.to, "To"), (&self.cc, &theirs.cc, &mut compared.cc, "Cc")];
        for (ours, theirs, count, name) in fields {
            let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
            *count += usize::from(!ours.is_empty());
            compared.lists += usize::from(ours.len() > 1);
            if plain_all(ours) != plain_all(theirs) {
                return Some(format!("{name} is {theirs:?} and not {ours:?}"));
            }
        }
        if theirs.names.is_some() && theirs.names != self.names {
            return Some(format!("the fields are {:?} and not {:?}", theirs.names, self.names));
        }
        compared.body += usize::from(theirs.body.is_some());
        let bodies = theirs.body.is_some() && theirs.body != self.body;
        bodies.then(|| format!("the body is {:?} octets long", theirs.body.as_ref().map(Vec::len)))
    }
}

/// An address in the form in which programs can be compared: some take the quotes off, some leave U-labels.
fn plain(text: &str) -> String {
    let Some((local, domain)) = text.rsplit_once('@') else { return text.to_owned() };
    let domain = Domain::parse(domain).map_or_else(|_| domain.to_owned(), |domain| domain.to_string());
    let local = match local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) if Mailbox::parse(text).is_ok() => unescaped(quoted),
        _ => local.to_owned(),
    };
    format!("{local}@{domain}")
}

fn unescaped(text: &str) -> String {
    let mut escaped = false;
    text.chars()
        .filter(|c| {
            escaped = !escaped && *c == '\\';
            !escaped
        })
        .collect()
}

fn mail_parser(raw: &[u8]) -> Reading {
    let message = MessageParser::new().parse(raw).unwrap_or_default();
    let names = message.headers().iter().map(|header| header.name().to_ascii_lowercase()).collect();
    let authors = addresses(message.from());
    let body = message.parts.first().and_then(|part| raw.get(part.offset_body as usize..));
    // A field that is there twice counts for this reader only once, and such messages are refused.
    let (to, cc) = (addresses(message.to()), addresses(message.cc()));
    let kind = |part: &mail_parser::MessagePart<'_>| {
        let found =
            part.content_type().map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("")));
        found.unwrap_or_else(|| "text/plain".to_owned()).to_ascii_lowercase()
    };
    let leaves = message.parts.iter().filter(|part| !matches!(part.body, PartType::Multipart(_)));
    let parts = Some(leaves.map(kind).collect());
    Reading { names: Some(names), authors, to: Some(to), cc: Some(cc), body: body.map(<[u8]>::to_vec), parts }
}

fn addresses(field: Option<&mail_parser::Address<'_>>) -> Vec<String> {
    let all = field.into_iter().flat_map(|list| list.iter());
    all.filter_map(|one| one.address().map(str::to_owned)).collect()
}

/// One process for all: each message with its length in front goes in, one line of JSON for each comes out.
fn run(program: &str, arguments: &[&str], probe: &[&str], raws: &[&[u8]]) -> Option<Vec<Option<Reading>>> {
    let found =
        Command::new(program).args(probe).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        testkit::lacking("T2", &format!("{program} with {probe:?} is not here, nobody compared"));
        return None;
    }
    let mut child = Command::new(program)
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let frames: Vec<u8> =
        raws.iter().flat_map(|raw| [format!("{:08}", raw.len()).as_bytes(), raw].concat()).collect();
    let writer = std::thread::spawn(move || input.write_all(&frames));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program} failed");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(reading).collect())
}

fn reading(line: &str) -> Option<Reading> {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    if value["failed"] == true {
        return None;
    }
    let texts = |key: &str| {
        let list = value[key].as_array()?;
        Some(list.iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    let body =
        value["body"].as_array().map(|octets| octets.iter().map(|b| b.as_u64().unwrap() as u8).collect());
    let (to, cc, parts) = (texts("to"), texts("cc"), texts("parts"));
    Some(Reading { names: texts("names"), authors: texts("authors").unwrap(), to, cc, body, parts })
}
