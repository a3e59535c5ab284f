//! `posthouse login` and `posthouse logout`.

use crate::exit::Failure;
use crate::remote::access::check_way;
use crate::remote::http::{Door, LoggedIn};
use crate::remote::options::ApiOptions;
use crate::remote::session::{self, Keeper, Session};
use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use mail::Random;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use zeroize::Zeroizing;

#[derive(Debug, clap::Args)]
pub struct Login {
    #[command(flatten)]
    pub options: ApiOptions,
    /// The address to log in with; asked for without it
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Logout {
    #[command(flatten)]
    pub options: ApiOptions,
}

/// Where the login is kept.
pub fn place(options: &ApiOptions) -> anyhow::Result<PathBuf> {
    let place = session::place(options.session());
    place.ok_or_else(|| Failure::Usage("there is no home directory; say --session FILE".to_owned()).into())
}

pub async fn log_in(login: &Login, random: Random, now: Timestamp) -> anyhow::Result<()> {
    let api = login.options.api().map(|api| api.trim_end_matches('/'));
    let api = api
        .ok_or_else(|| Failure::Usage("say where: --api URL, such as https://mail.example.net".to_owned()))?;
    check_way(api, login.options.plaintext())?;
    let email = match &login.email {
        Some(email) => email.clone(),
        None => ask("address: ")?,
    };
    let password = password()?;
    let door = Door::new(api, login.options.ca(), random)?;
    let fresh = door.log_in(&email, &password).await?;
    let file = place(&login.options)?;
    Keeper::open(&file)?.keep(&kept(api, &email, fresh, now))?;
    match login.options.json {
        true => println!("{}", serde_json::json!({"api": api, "email": email, "session": file})),
        false => println!("logged in at {api} as {email}; the login is kept in {}", file.display()),
    }
    Ok(())
}

pub async fn log_out(logout: &Logout, random: Random) -> anyhow::Result<()> {
    let keeper = Keeper::open(&place(&logout.options)?)?;
    // One that cannot be read can still be forgotten.
    if let Ok(Some(session)) = keeper.read() {
        // The house may be gone; the login is forgotten here all the same, and ends there by itself.
        let _ = Door::new(&session.api, logout.options.ca(), random)?.log_out(&session.cookie).await;
    }
    keeper.forget()?;
    match logout.options.json {
        true => println!("{}", serde_json::json!({"logged_out": true})),
        false => println!("logged out"),
    }
    Ok(())
}

pub fn kept(api: &str, email: &str, fresh: LoggedIn, now: Timestamp) -> Session {
    let expires_at = now.checked_add(SignedDuration::from_secs(fresh.seconds)).unwrap_or(now);
    Session {
        api: api.to_owned(),
        email: email.to_owned(),
        token: fresh.token,
        cookie: fresh.cookie,
        expires_at,
    }
}

/// From the terminal without showing it, or the first line of a pipe.
fn password() -> anyhow::Result<Zeroizing<String>> {
    if std::io::stdin().is_terminal() {
        let typed = rpassword::prompt_password("password: ").context("cannot read the password")?;
        return Ok(Zeroizing::new(typed));
    }
    line().map(Zeroizing::new)
}

fn ask(question: &str) -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        eprint!("{question}");
        std::io::stderr().flush()?;
    }
    line()
}

fn line() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text).context("cannot read standard input")?;
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    if text.is_empty() {
        return Err(Failure::Usage("nothing came from standard input".to_owned()).into());
    }
    Ok(text)
}
