//! The commands that are calls of the API: they do nothing that a program could not do with the same credential.
//!
//! A command line becomes an `Action`, a value; `run` carries it out and shows the answer. What may surprise: things are
//! named as people name them, and looked up first.

pub mod access;
mod action;
mod call;
mod http;
pub mod login;
pub mod nouns;
pub mod options;
mod problem;
mod records;
mod session;
mod view;

use crate::clock::SystemClock;
use crate::exit::Failure;
use crate::roles::up::os_random;
use access::{Access, Found, Identity, Known, ReadyFile, decide};
use action::{Action, Consent, Extent};
use anyhow::Context;
use call::Call;
use http::Door;
use jiff::Timestamp;
use login::kept;
use mail::Clock;
use nouns::Noun;
use options::ApiOptions;
use serde_json::Value;
use session::Keeper;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use view::{View, event, show};
use zeroize::Zeroizing;

/// Where `posthouse up` leaves its ready file, seen from the directory it was started in.
const READY: &str = ".posthouse/ready.json";
/// How often a tail asks for more.
const TAIL_EVERY: Duration = Duration::from_millis(500);
/// How long a tail waits for a house that is away.
const TAIL_PAUSE: Duration = Duration::from_secs(5);

/// A noun with the options that all of them have.
#[derive(Debug, clap::Args)]
pub struct Remote<N: Noun + clap::Args> {
    #[command(flatten)]
    options: ApiOptions,
    #[command(flatten)]
    noun: N,
}

pub fn run<N: Noun + clap::Args>(remote: &Remote<N>) -> anyhow::Result<()> {
    let action = remote.noun.action(now())?;
    if action.consent == Consent::Missing {
        return Err(Failure::Usage("this cannot be undone; say --yes if you mean it".to_owned()).into());
    }
    in_runtime(carry_out(&remote.options, &action))
}

pub fn log_in(login: &login::Login) -> anyhow::Result<()> {
    in_runtime(login::log_in(login, os_random()?, now()))
}

pub fn log_out(logout: &login::Logout) -> anyhow::Result<()> {
    in_runtime(login::log_out(logout, os_random()?))
}

fn now() -> Timestamp {
    SystemClock::new().timestamp().to_jiff()
}

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn carry_out(options: &ApiOptions, action: &Action) -> anyhow::Result<()> {
    let mut door = open(options).await?;
    match action.extent {
        Extent::Once => {
            let answer = door.answer(&action.call).await?;
            say(&text(options, action.view, &answer))
        }
        Extent::Rows(wanted) => {
            let answer = door.rows(&action.call, wanted).await?;
            say(&text(options, action.view, &answer))?;
            let full = answer["data"].as_array().is_some_and(|rows| rows.len() >= wanted as usize);
            if full && !answer["next_cursor"].is_null() && !options.json {
                eprintln!("there is more; --limit COUNT shows it");
            }
            Ok(())
        }
        Extent::Follow => follow(&mut door, options, &action.call).await,
    }
}

fn text(options: &ApiOptions, view: View, answer: &Value) -> String {
    match options.json {
        true => format!("{answer:#}\n"),
        false => show(view, answer),
    }
}

/// Events for ever; Ctrl-C is how it ends. A house that is away for a while is waited for, and a token that ends is
/// followed by the next.
async fn follow(door: &mut Door, options: &ApiOptions, call: &Call) -> anyhow::Result<()> {
    let (mut call, mut renewable) = (call.clone(), false);
    loop {
        let page = match (door.rows(&call, 1000).await, renewable) {
            (Ok(page), _) => page,
            (Err(error), _) if matches!(error.downcast_ref(), Some(Failure::Unavailable(_))) => {
                tokio::time::sleep(TAIL_PAUSE).await;
                continue;
            }
            (Err(error), true) if matches!(error.downcast_ref(), Some(Failure::NotPermitted(_))) => {
                (*door, renewable) = (open(options).await?, false);
                continue;
            }
            (Err(error), _) => return Err(error),
        };
        renewable = true;
        for row in page["data"].as_array().into_iter().flatten() {
            say(&if options.json { format!("{row}\n") } else { event(row) })?;
        }
        if let Some(cursor) = page["next_cursor"].as_str() {
            call.query = vec![("cursor", cursor.to_owned())];
        }
        tokio::time::sleep(TAIL_EVERY).await;
    }
}

/// To a pipe that may be closed: `| head` is no failure.
fn say(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        outcome => outcome.context("cannot print"),
    }
}

/// The API, as somebody.
async fn open(options: &ApiOptions) -> anyhow::Result<Door> {
    let session = session::place(options.session());
    let kept_for = session.as_deref().map(session::read).transpose()?.flatten().map(|session| session.api);
    let known = Known {
        api: options.api().map(str::to_owned),
        key: options.api_key().map(|key| Zeroizing::new(key.to_owned())),
        session: kept_for,
        ready: ready(options.ready_file())?,
        plaintext: options.plaintext(),
    };
    let Access { api, identity } = decide(known)?;
    let door = Door::new(&api, options.ca(), os_random()?)?;
    let bearer = match identity {
        Identity::Key(key) => key,
        Identity::Operator(login) => Zeroizing::new(door.log_in(&login.email, &login.password).await?.token),
        Identity::Session => renewed(&door, &api, &login::place(options)?).await?,
    };
    Ok(door.carrying(bearer))
}

/// The token of the kept login, a new one if that ends.
async fn renewed(door: &Door, api: &str, file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let keeper = Keeper::open(file)?;
    let session = keeper.read()?.ok_or_else(|| Failure::NotPermitted("nobody is logged in".to_owned()))?;
    if session.api != api {
        // Somebody logged in elsewhere just now.
        return Err(Failure::NotPermitted(format!(
            "the login is at {} now, no longer at {api}",
            session.api
        ))
        .into());
    }
    if session.is_fresh(now()) {
        return Ok(Zeroizing::new(session.token));
    }
    let fresh = door.renew(&session.cookie).await.with_context(|| {
        format!(
            "the login of {} at {} has ended: `posthouse login --api {}`",
            session.email, session.api, session.api
        )
    })?;
    let session = kept(&session.api, &session.email, fresh, now());
    keeper.keep(&session)?;
    Ok(Zeroizing::new(session.token))
}

fn ready(asked: Option<&Path>) -> anyhow::Result<Option<(ReadyFile, Found)>> {
    let (file, found) = asked.map_or((Path::new(READY), Found::LyingThere), |file| (file, Found::Asked));
    let text = match (std::fs::read_to_string(file), found) {
        (Ok(text), _) => text,
        (Err(_), Found::LyingThere) => return Ok(None),
        (Err(error), Found::Asked) => {
            let text = format!("cannot read {}: {error}; does the node run?", file.display());
            return Err(Failure::Input(text).into());
        }
    };
    let wrong = |what: &str| anyhow::Error::from(Failure::Input(format!("{} {what}", file.display())));
    let ready: Value = serde_json::from_str(&text).map_err(|_| wrong("is no ready file of posthouse"))?;
    match (ready.get("api"), found) {
        (Some(Value::Null), Found::LyingThere) => return Ok(None),
        (Some(Value::Null), Found::Asked) => {
            return Err(wrong("is of a node without the role api; name one that has it, with --api URL"));
        }
        (Some(_) | None, _) => {}
    }
    let ready = serde_json::from_value(ready).map_err(|_| wrong("is no ready file of posthouse"))?;
    Ok(Some((ready, found)))
}
