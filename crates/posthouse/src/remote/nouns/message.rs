//! `posthouse message`: sending one, and where it is.

use super::Noun;
use crate::exit::Failure;
use crate::remote::action::{Action, Rows, Yes};
use crate::remote::call::{Call, Kind, Step, fields, of_tenant, thing, word};
use crate::remote::options::{When, Whose};
use crate::remote::view::{Column, View, column};
use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Message {
    #[command(flatten)]
    whose: Whose,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send a message
    ///
    /// Either its parts, or with --raw a finished message (RFC 5322), whose header says to whom unless --to does. Prints
    /// the id that `show`, `timeline`, `why` and `cancel` take.
    Send(Box<Send>),
    /// List messages, the newest first
    List(Box<List>),
    /// Show a message and what became of each recipient
    Show(One),
    /// Every attempt: when, from where, to whom, how long it took, what the site said
    Timeline(One),
    /// Why it waits, in one reason for each recipient
    Why(One),
    /// Send it to nobody who has not got it yet
    Cancel {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, clap::Args)]
struct One {
    /// Its id, as the answer to its submission had it: msg_…
    #[arg(value_name = "MESSAGE")]
    message: String,
}

#[derive(Debug, clap::Args)]
struct Send {
    /// Who it is from: a@news.client.example, or "Name <a@news.client.example>"
    #[arg(long, value_name = "ADDRESS", required_unless_present = "raw")]
    from: Option<String>,
    /// To whom; may be given again
    #[arg(long, value_name = "ADDRESS", required_unless_present = "raw")]
    to: Vec<String>,
    /// To whom a copy goes that all can see; may be given again
    #[arg(long, value_name = "ADDRESS")]
    cc: Vec<String>,
    /// To whom a copy goes that nobody else can see; may be given again
    #[arg(long, value_name = "ADDRESS")]
    bcc: Vec<String>,
    /// What it is about
    #[arg(long, required_unless_present = "raw")]
    subject: Option<String>,
    /// The body as text; `-` reads it from standard input
    #[arg(long)]
    text: Option<String>,
    /// A file with the body as HTML
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// A file with the finished message, `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["subject", "text", "html"])]
    raw: Option<PathBuf>,
    /// Name or id of the stream; the one that the API key is bound to, or the tenant's first, without it
    #[arg(long)]
    stream: Option<String>,
    /// A word to find it by (`message list --tag`); may be given again
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Carried into events: order=77; may be given again
    #[arg(long = "metadata", value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Not before: a time, or so long from now, such as 2h
    #[arg(long, value_name = "WHEN")]
    send_at: Option<When>,
}

#[derive(Debug, clap::Args)]
struct List {
    /// To this address
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// With a recipient in this state
    #[arg(long, value_parser = ["queued", "deferred", "delivered", "bounced", "failed", "expired", "suppressed", "cancelled"])]
    state: Option<String>,
    /// Of this stream, by name or id
    #[arg(long)]
    stream: Option<String>,
    /// With this tag
    #[arg(long)]
    tag: Option<String>,
    /// With this Message-ID field, angle brackets included
    #[arg(long, value_name = "TEXT")]
    message_id_header: Option<String>,
    /// Accepted then or later: a time, or a span back from now such as 2h
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Accepted before
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    #[command(flatten)]
    rows: Rows,
}

const LIST: &[Column] = &[
    column("ID", "/id"),
    column("ACCEPTED", "/accepted_at"),
    column("FROM", "/from"),
    column("TO", "/recipients/*/recipient"),
    column("STATE", "/recipients/*/state"),
    column("SUBJECT", "/subject"),
];

const RECIPIENTS: &[Column] = &[
    column("RECIPIENT", "/recipient"),
    column("STATE", "/state"),
    column("TRIES", "/attempts"),
    column("NEXT", "/next_at"),
    column("CLASS", "/class"),
    column("REPLY", "/reply"),
];

const TIMELINE: &[Column] = &[
    column("AT", "/at"),
    column("RECIPIENT", "/recipient"),
    column("TRY", "/attempt"),
    column("VERDICT", "/verdict"),
    column("CLASS", "/class"),
    column("FROM", "/egress"),
    column("MX", "/mx"),
    column("TLS", "/tls"),
    column("MS", "/duration_ms"),
    column("NEXT", "/next_at"),
    column("REPLY", "/reply"),
];

const WHY: &[Column] = &[
    column("RECIPIENT", "/recipient"),
    column("STATE", "/state"),
    column("REASON", "/reason"),
    column("UNTIL", "/until"),
    column("DETAIL", "/detail"),
    column("SITE", "/site"),
];

impl Noun for Message {
    fn action(&self, now: Timestamp) -> anyhow::Result<Action> {
        let all = || of_tenant(&self.whose.tenant, [word("messages")]);
        Ok(match &self.command {
            Command::Send(send) => {
                let call = Call::post(all(), send.body(&send.parts()?, now));
                Action::once(
                    call,
                    View::Card(const { &[column("accepted as", "/ids"), column("refused", "/refused")] }),
                )
            }
            Command::List(list) => Action::list(list.call(all(), now), list.rows, View::Table(LIST)),
            Command::Show(one) => {
                Action::once(Call::get(self.at(one, [])), View::TableAt("/recipients", RECIPIENTS))
            }
            Command::Timeline(one) => {
                Action::once(Call::get(self.at(one, [word("timeline")])), View::Table(TIMELINE))
            }
            Command::Why(one) => {
                Action::once(Call::get(self.at(one, [word("why")])), View::TableAt("/recipients", WHY))
            }
            Command::Cancel { one, yes } => {
                let call = Call::order(self.at(one, [word("cancel")]));
                let view = View::Card(const { &[column("recipients cancelled", "/cancelled")] });
                Action::once(call, view).with_consent(yes)
            }
        })
    }
}

impl Message {
    fn at(&self, one: &One, further: impl IntoIterator<Item = Step>) -> Vec<Step> {
        let message = [word("messages"), thing(Kind::Message, &one.message)];
        of_tenant(&self.whose.tenant, message.into_iter().chain(further))
    }
}

/// What a message is made of that comes from files.
#[derive(Debug, Default)]
struct Parts {
    text: Option<String>,
    html: Option<String>,
    raw: Option<Vec<u8>>,
}

impl Send {
    fn parts(&self) -> anyhow::Result<Parts> {
        let text = match self.text.as_deref() {
            Some("-") => Some(as_text(read(Path::new("-"))?, "the text")?),
            said => said.map(str::to_owned),
        };
        let html = self.html.as_deref().map(|file| as_text(read(file)?, "the HTML")).transpose()?;
        Ok(Parts { text, html, raw: self.raw.as_deref().map(read).transpose()? })
    }

    fn body(&self, parts: &Parts, now: Timestamp) -> Value {
        let some = |list: &[String]| (!list.is_empty()).then(|| json!(list));
        let metadata: Map<String, Value> =
            self.metadata.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        fields([
            ("from", self.from.as_ref().map(|from| json!(from))),
            ("to", some(&self.to)),
            ("cc", some(&self.cc)),
            ("bcc", some(&self.bcc)),
            ("subject", self.subject.as_ref().map(|subject| json!(subject))),
            ("text", parts.text.as_ref().map(|text| json!(text))),
            ("html", parts.html.as_ref().map(|html| json!(html))),
            ("raw", parts.raw.as_ref().map(|raw| json!(STANDARD.encode(raw)))),
            ("stream", self.stream.as_ref().map(|stream| json!(stream))),
            ("tags", some(&self.tags)),
            ("metadata", (!metadata.is_empty()).then_some(Value::Object(metadata))),
            ("send_at", self.send_at.map(|when| json!(when.after(now)))),
        ])
    }
}

impl List {
    fn call(&self, path: Vec<Step>, now: Timestamp) -> Call {
        Call::get(path)
            .asking("recipient", self.recipient.as_ref())
            .asking("state", self.state.as_ref())
            .asking("stream", self.stream.as_ref())
            .asking("tag", self.tag.as_ref())
            .asking("message_id_header", self.message_id_header.as_ref())
            .asking("since", self.since.map(|when| when.before(now)))
            .asking("until", self.until.map(|when| when.before(now)))
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "say NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut octets = Vec::new();
        std::io::stdin().lock().read_to_end(&mut octets).context("cannot read standard input")?;
        return Ok(octets);
    }
    std::fs::read(file)
        .map_err(|error| Failure::Input(format!("cannot read {}: {error}", file.display())).into())
}

fn as_text(octets: Vec<u8>, what: &str) -> anyhow::Result<String> {
    let text = String::from_utf8(octets);
    text.map_err(|_| Failure::Input(format!("{what} is not UTF-8; send it with --raw")).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        message: Message,
    }

    fn send(line: &[&str]) -> Result<Value, clap::Error> {
        let now: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
        let words = ["x", "send"].iter().chain(line);
        let Command::Send(send) = Line::try_parse_from(words)?.message.command else { panic!("it is send") };
        Ok(send.body(&send.parts().unwrap(), now))
    }

    #[test]
    fn half_a_message_is_refused() {
        assert!(send(&["--from", "a@b.example"]).is_err());
        assert!(send(&["--to", "a@b.example"]).is_err());
        assert!(send(&["--raw", "m.eml", "--text", "x"]).is_err());
        assert!(send(&["--from", "a@b.example", "--to", "c@d.example", "--metadata", "order"]).is_err());
    }

    #[test]
    fn a_message_says_what_was_said() {
        let line = [
            "--from",
            "a@b.example",
            "--to",
            "c@d.example",
            "--to",
            "e@f.example",
            "--subject",
            "s",
            "--text",
            "hi",
            "--metadata",
            "order=7=7",
            "--send-at",
            "1h",
        ];
        let expected = json!({"from": "a@b.example", "to": ["c@d.example", "e@f.example"], "subject": "s", "text": "hi",
            "metadata": {"order": "7=7"}, "send_at": "2026-11-23T10:00:00Z"});
        assert_eq!(send(&line).unwrap(), expected);
    }
}
