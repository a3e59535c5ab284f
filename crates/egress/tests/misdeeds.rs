//! Everything that a site can do to us, as one table (catalogue N2 and N3): what it does, where that stops us, how it is told,
//! and where the message ends.
//!
//! Each row runs twice. Alone, the site's misdeed is what came of the attempt. Beside a second exchanger that behaves, the
//! message goes there in the same attempt, unless the site has answered for its recipient or may have the message. In
//! both the attempt ends within the time of its steps, nothing is taken twice and the connection is given back.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod house;

use Ends::{Here, Later, Never, Next};
use house::site::{Say, Site, free_port, good, scripted, usual};
use house::{House, Told};
use mail::{Outcome, Verdict};
use smtp::server::TlsMode;
use spool::Settlement;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

type Script = fn(u32, &str) -> Say;

/// Where the message ends, if there is a second exchanger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// With the site itself, whatever it did.
    Here,
    /// With the second exchanger, in the same attempt. Alone: it is tried again later.
    Next,
    /// With nobody today, and nobody else is asked: the site spoke for all, or may have the message.
    Later,
    /// With nobody: the recipient is settled.
    Never(Settlement),
}

struct Row {
    what: &'static str,
    script: Script,
    ends: Ends,
    /// Where it stopped us.
    stage: &'static str,
    /// Part of what is told.
    told: &'static str,
}

/// Rows at a time.
const TOGETHER: usize = 12;
/// Steps take a second at most, the final answer three, and an attempt visits two hosts.
const BUDGET: Duration = Duration::from_secs(10);

/// A script that is as usual but for the lines that begin so.
macro_rules! at {
    ($verb:literal, $say:expr) => {
        |_, line| if line.starts_with($verb) { $say } else { usual(line) }
    };
}

/// A script that is as usual but for the greeting.
macro_rules! greets {
    ($say:expr) => {
        |_, line| if line.is_empty() { $say } else { usual(line) }
    };
}

/// A script that offers TLS and does this when it is asked for it.
macro_rules! tls {
    ($say:expr) => {
        |_, line| match line {
            "STARTTLS" => $say,
            _ if line.starts_with("EHLO") => Say::Line("250-mx\r\n250 STARTTLS"),
            _ => usual(line),
        }
    };
}

macro_rules! table {
    ($($what:literal, $script:expr, $ends:expr, $stage:literal, $told:literal;)*) => {
        [$(Row { what: $what, script: $script, ends: $ends, stage: $stage, told: $told }),*]
    };
}

#[rustfmt::skip]
fn silence_and_ends() -> Vec<Row> {
    table![
        "never greets", greets!(Say::Silence), Next, "greeting", "in time";
        "is silent at EHLO", at!("EHLO", Say::Silence), Next, "ehlo", "in time";
        "is silent at STARTTLS", tls!(Say::Silence), Next, "starttls", "in time";
        "is silent at MAIL", at!("MAIL", Say::Silence), Next, "mail", "in time";
        "is silent at RCPT", at!("RCPT", Say::Silence), Next, "rcpt", "in time";
        "is silent at DATA", at!("DATA", Say::Silence), Next, "data", "in time";
        "is silent at the dot", at!(".", Say::Silence), Later, "final-dot", "may have it";
        "reads nothing after its 354", at!("DATA", Say::Deaf("354 go")), Later, "final-dot", "may have it";
        "is silent at QUIT", at!("QUIT", Say::Silence), Here, "final-dot", "";
        "greets octet by octet", greets!(Say::Drip("220 mx.site.example ready")), Next, "greeting", "in time";
        "answers RCPT octet by octet", at!("RCPT", Say::Drip("250 2.1.5 recipient fine")), Next, "rcpt", "in time";
        "answers RCPT line by line", at!("RCPT", Say::Drip("250-a\r\n250-b\r\n250-c\r\n250-d\r\n")), Next, "rcpt", "in time";
        "answers the dot octet by octet", at!(".", Say::Drip("250 2.0.0 thank you, it is stored here")), Later, "final-dot", "may have it";
        "thinks for long about the dot", at!(".", Say::Late(1_500, "250 taken")), Here, "final-dot", "";
        "closes before the greeting", greets!(Say::Close), Next, "greeting", "closed";
        "closes at EHLO", at!("EHLO", Say::Close), Next, "ehlo", "closed";
        "closes at STARTTLS", tls!(Say::Close), Next, "starttls", "closed";
        "closes at MAIL", at!("MAIL", Say::Close), Next, "mail", "closed";
        "closes at RCPT", at!("RCPT", Say::Close), Next, "rcpt", "closed";
        "closes at DATA", at!("DATA", Say::Close), Next, "data", "closed";
        "closes at the dot", at!(".", Say::Close), Later, "final-dot", "may have it";
        "closes at QUIT", at!("QUIT", Say::Close), Here, "final-dot", "";
        "closes its half at EHLO", at!("EHLO", Say::HalfClose), Next, "ehlo", "closed";
        "closes its half at MAIL", at!("MAIL", Say::HalfClose), Next, "mail", "closed";
        "closes its half at the dot", at!(".", Say::HalfClose), Later, "final-dot", "may have it";
    ].into()
}

#[rustfmt::skip]
fn nonsense() -> Vec<Row> {
    table![
        "greets with garbage", greets!(Say::Line("\u{1}\u{2}what?")), Next, "greeting", "no SMTP reply";
        "answers EHLO with garbage", at!("EHLO", Say::Line("\u{1}\u{2}what?")), Next, "ehlo", "no SMTP reply";
        "answers MAIL with an empty line", at!("MAIL", Say::Line("")), Next, "mail", "no SMTP reply";
        "answers RCPT with 999", at!("RCPT", Say::Line("999 beyond")), Next, "rcpt", "no SMTP reply";
        "changes its code in a reply", at!("RCPT", Say::Line("250-yes\r\n550 no")), Next, "rcpt", "no SMTP reply";
        "answers MAIL with 354", at!("MAIL", Say::Line("354 go")), Next, "mail", "no SMTP reply";
        "answers DATA with 250", at!("DATA", Say::Line("250 fine")), Next, "data", "no SMTP reply";
        "answers the dot with garbage", at!(".", Say::Line("?")), Later, "final-dot", "may have it";
        "answers the dot with 354", at!(".", Say::Line("354 more")), Later, "final-dot", "may have it";
        "answers QUIT with garbage", at!("QUIT", Say::Line("?")), Here, "final-dot", "";
        "greets with a line of 1 MB", greets!(Say::Owned(format!("220 {}", "x".repeat(1 << 20)))), Next, "greeting", "no SMTP reply";
        "answers RCPT with a line of 1 MB", at!("RCPT", Say::Owned(format!("250 {}", "x".repeat(1 << 20)))), Next, "rcpt", "no SMTP reply";
        "answers the dot with a line of 1 MB", at!(".", Say::Owned(format!("250 {}", "x".repeat(1 << 20)))), Later, "final-dot", "may have it";
        "greets without end", greets!(Say::Owned("220-more\r\n".repeat(50_000))), Next, "greeting", "no SMTP reply";
        "answers RCPT without end", at!("RCPT", Say::Owned("250-more\r\n".repeat(50_000))), Next, "rcpt", "no SMTP reply";
        "answers EHLO with 50 long lines", at!("EHLO", Say::Owned(format!("250-{}\r\n", "x".repeat(4_000)).repeat(50))), Next, "ehlo", "no SMTP reply";
        "answers the dot without end", at!(".", Say::Owned("250-more\r\n".repeat(50_000))), Later, "final-dot", "may have it";
        "answers before it is asked", greets!(Say::Octets(b"220 mx\r\n250 mx\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n")), Next, "ehlo", "no SMTP reply";
        "answers MAIL twice", at!("MAIL", Say::Octets(b"250 ok\r\n250 ok\r\n")), Next, "rcpt", "no SMTP reply";
        "takes the message before it has it", at!("DATA", Say::Octets(b"354 go\r\n250 taken\r\n")), Next, "data", "no SMTP reply";
        "refuses TLS by an alert", tls!(Say::Octets(b"220 go\r\n\x15\x03\x01\x00\x02\x02\x28")), Here, "final-dot", "";
        "speaks no TLS after its 220", tls!(Say::Octets(b"220 go\r\nEHLO yourself, and a few octets more\r\n")), Here, "final-dot", "";
        "never ends the handshake", tls!(Say::Deaf("220 go")), Here, "final-dot", "";
        "speaks eight bits at the dot", at!(".", Say::Octets(b"250 2.0.0 gr\xfc\xdfe \x1b[0m\r\n")), Here, "final-dot", "";
        "refuses in eight bits", at!("RCPT", Say::Octets(b"550 5.1.1 Empf\xe4nger \x1b[31munbekannt\r\n")), Never(Settlement::Bounced), "rcpt", "Empf\u{fffd}nger  [31munbekannt";
        "says codes only, and ends lines by LF", |_, line| Say::Octets(match line.get(..4).unwrap_or(line) {
            "" => b"220\n",
            "DATA" => b"354\n",
            "QUIT" => b"221\n",
            _ => b"250\n",
        }), Here, "final-dot", "";
    ].into()
}

#[rustfmt::skip]
fn refusals() -> Vec<Row> {
    table![
        "greets with 421", greets!(Say::Last("421 4.3.2 busy")), Next, "greeting", "421 4.3.2";
        "greets with 450", greets!(Say::Last("450 4.7.1 later")), Next, "greeting", "450 4.7.1";
        "greets with 554", greets!(Say::Last("554 5.7.1 not you")), Next, "greeting", "554 5.7.1";
        "answers EHLO with 421", at!("EHLO", Say::Last("421 4.3.2 busy")), Next, "ehlo", "421 4.3.2";
        "answers EHLO and HELO with 550", |_, line| match line.get(1..4) {
            Some("HLO" | "ELO") => Say::Line("550 5.7.1 not you"),
            _ => usual(line),
        }, Next, "ehlo", "550 5.7.1";
        "knows no EHLO", at!("EHLO", Say::Line("502 5.5.1 what?")), Here, "final-dot", "";
        "refuses TLS for now", tls!(Say::Line("454 4.7.0 not now")), Here, "final-dot", "";
        "closes with 421 at STARTTLS", tls!(Say::Last("421 4.7.0 too busy")), Next, "starttls", "421 4.7.0";
        "answers MAIL with 421", at!("MAIL", Say::Last("421 4.3.2 going down")), Later, "mail", "421 4.3.2";
        "answers MAIL with 451", at!("MAIL", Say::Line("451 4.3.0 try again")), Later, "mail", "451 4.3.0";
        "answers MAIL with 550", at!("MAIL", Say::Line("550 5.7.1 spam")), Never(Settlement::Failed), "mail", "550 5.7.1";
        "answers RCPT with 421", at!("RCPT", Say::Last("421 4.3.2 going down")), Later, "rcpt", "421 4.3.2";
        "answers RCPT with 450", at!("RCPT", Say::Line("450 4.2.1 busy")), Later, "rcpt", "450 4.2.1";
        "answers RCPT with 550", at!("RCPT", Say::Line("550 5.1.1 unknown")), Never(Settlement::Bounced), "rcpt", "550 5.1.1";
        "answers DATA with 421", at!("DATA", Say::Last("421 4.3.2 going down")), Later, "data", "421 4.3.2";
        "answers DATA with 451", at!("DATA", Say::Line("451 4.3.0 try again")), Later, "data", "451 4.3.0";
        "answers DATA with 554", at!("DATA", Say::Line("554 5.7.1 rejected as spam")), Never(Settlement::Failed), "data", "554 5.7.1";
        "answers the dot with 421", at!(".", Say::Last("421 4.3.2 going down")), Later, "final-dot", "421 4.3.2";
        "answers the dot with 451", at!(".", Say::Line("451 4.3.0 try again")), Later, "final-dot", "451 4.3.0";
        "answers the dot with 554", at!(".", Say::Line("554 5.7.1 rejected as spam")), Never(Settlement::Failed), "final-dot", "554 5.7.1";
    ].into()
}

#[tokio::test]
async fn a_site_that_falls_silent_or_goes_away() {
    all(silence_and_ends()).await;
}

#[tokio::test]
async fn a_site_that_talks_nonsense() {
    all(nonsense()).await;
}

#[tokio::test]
async fn a_site_that_refuses() {
    all(refusals()).await;
}

async fn all(rows: Vec<Row>) {
    let (mut running, mut longest, mut failed) = (JoinSet::new(), Duration::ZERO, 0);
    let mut rows = rows.into_iter();
    loop {
        // All rows are run, so that one that fails hides no other.
        for row in rows.by_ref().take(TOGETHER - running.len()) {
            running.spawn(async move { alone(&row).await.max(beside_another(&row).await) });
        }
        match running.join_next().await {
            Some(Ok(took)) => longest = longest.max(took),
            Some(Err(_)) => failed += 1,
            None => break,
        }
    }
    println!("the longest attempt took {} ms", longest.as_millis());
    assert_eq!(failed, 0, "rows failed, see above");
    assert!(longest <= BUDGET);
}

/// Sites live until the test ends, so their ports must not be given out again before.
async fn port() -> u16 {
    let (port, keep) = free_port().await;
    Box::leak(Box::new(keep));
    port
}

async fn house(port: u16) -> House {
    House::with(port, |config| {
        config.timeouts = smtp::Timeouts {
            greeting_seconds: 1,
            hello_seconds: 1,
            starttls_seconds: 1,
            mail_seconds: 1,
            rcpt_seconds: 1,
            data_seconds: 1,
            block_seconds: 1,
            final_seconds: 3,
            reset_seconds: 1,
            quit_seconds: 1,
            ..smtp::Timeouts::default()
        };
        config.idle_seconds = 0;
        config.retry_seconds = vec![600];
    })
    .await
}

/// Only this site: what it did is what is told.
async fn alone(row: &Row) -> Duration {
    let port = port().await;
    let site = scripted(151, port, row.script).await;
    let mut house = house(port).await;
    house.route("dest.example", 10, "mx1.dest.example", site.address);
    let began = Instant::now();
    house.send(&["a@dest.example"]).await;
    let told = house.told().await;
    let took = began.elapsed();
    let (outcome, settlement) = come_of(told);
    let words = words(&outcome);
    assert_eq!(outcome.stage, row.stage, "{}: {words}", row.what);
    assert!(words.contains(row.told), "{}: {words}", row.what);
    let expected = match row.ends {
        Here => Some(Settlement::Delivered),
        Never(settlement) => Some(settlement),
        Next | Later => None,
    };
    assert_eq!(settlement, expected, "{}: {words}", row.what);
    assert_eq!(words.contains("may have it"), row.told == "may have it", "{}: {words}", row.what);
    is_over(row, &site, house).await;
    took
}

/// With a second exchanger that takes everything.
async fn beside_another(row: &Row) -> Duration {
    let port = port().await;
    let (site, other) = (scripted(151, port, row.script).await, good(152, port, TlsMode::None).await);
    let mut house = house(port).await;
    house.route("dest.example", 10, "mx1.dest.example", site.address);
    house.route("dest.example", 20, "mx2.dest.example", other.address);
    let began = Instant::now();
    house.send(&["a@dest.example"]).await;
    let told = house.told().await;
    let took = began.elapsed();
    let (outcome, settlement) = come_of(told);
    let (went_on, mx) = match row.ends {
        Next => (1, "mx2.dest.example"),
        Here | Later | Never(_) => (0, "mx1.dest.example"),
    };
    assert_eq!(outcome.mx.as_deref(), Some(mx), "{}", row.what);
    assert_eq!((other.connections() as usize, other.arrivals().len()), (went_on, went_on), "{}", row.what);
    assert_eq!(settlement.is_some(), row.ends != Later, "{}", row.what);
    // Whoever has seen the end of it is the only one who has.
    assert!(site.final_dots() as usize + other.arrivals().len() <= 1, "{}", row.what);
    is_over(row, &site, house).await;
    took
}

fn come_of(told: Told) -> (Outcome, Option<Settlement>) {
    match told {
        Told::Attempted(one) => {
            assert_eq!((one.attempt, one.outcome.verdict), (1, Verdict::Deferred));
            (one.outcome, None)
        }
        Told::Settled(one) => {
            assert_eq!(one.attempt, 1);
            (one.outcome.unwrap(), Some(one.settlement))
        }
    }
}

fn words(outcome: &Outcome) -> String {
    let reply = outcome.reply.as_ref().map(mail::Reply::to_line);
    [reply, outcome.trouble.clone()].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The connection is given back in time, whatever the site does with its end, and nothing went out twice.
async fn is_over(row: &Row, site: &Site, house: House) {
    let given_back = async {
        while house.handle().paths().await.unwrap().iter().any(|path| path.open > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(BUDGET, given_back).await.is_ok(),
        "{}: a place is not free again",
        row.what
    );
    assert!(site.final_dots() <= 1, "{}", row.what);
    house.stop().await;
}
