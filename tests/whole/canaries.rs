//! Secrets that a house was given or gave out, looked for everywhere where none belongs.
//!
//! Every secret is used as it is meant to be, and then offered where it is wrong, with every crate of ours at its most
//! talkative. Afterwards the log, a dump of the database, the journal, what commands print and what the API answers hold none
//! of them. Of the memory of the process it is only printed what is found there: while a secret is in use it has to be there.

use crate::house::{House, Plot, Tenant, python, wait_for, web};
use crate::telling::talkative;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use testkit::skipped;

const PASSWORD: &str = "canary-of-a-password-5be2f1";

/// A secret by the name of what it is, and the octets to look for.
type Canaries = Vec<(&'static str, Vec<u8>)>;

/// What was said to those who asked.
#[derive(Default)]
struct Said(String);

impl Said {
    fn ask(&mut self, house: &House, (method, path): (&str, &str), token: &str, body: Option<&Value>) -> u16 {
        let (status, answer) = house.api(method, path, token, body);
        self.0.push_str(&answer.to_string());
        status
    }
}

/// A login by hand, for the cookie.
fn login(house: &House, email: &str, password: &str) -> (String, String) {
    let body = json!({"email": email, "password": password}).to_string();
    let request = web().post(format!("{}/v1/auth/token", house.text("/api"))).body(body);
    let answer = request.header("content-type", "application/json").send().unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    let value = cookie.split(';').next().unwrap().split_once('=').unwrap().1.to_owned();
    let token: Value = serde_json::from_str(&answer.text().unwrap()).unwrap();
    (token["access_token"].as_str().unwrap().to_owned(), value)
}

/// The octets of the key in a key file: behind a name, or alone.
fn key_of(file: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(file) {
        Ok(text) => STANDARD.decode(text.split_ascii_whitespace().nth(1).unwrap()).unwrap(),
        Err(_) => file.to_vec(),
    }
}

fn canaries(house: &House, tenant: &Tenant, (token, cookie): &(String, String)) -> Canaries {
    let given =
        |pointer: &str| tenant.onboarding.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    let hook = given("/webhook/secret");
    let raw = STANDARD.decode(hook.strip_prefix("whsec_").unwrap()).unwrap();
    let key = tenant.key.rsplit('_').next().unwrap().to_owned();
    let database = house.text("/database");
    let database = database
        .split_once("://")
        .unwrap()
        .1
        .split('@')
        .next()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned();
    let master = std::fs::read(house.data.join("keys/master.key")).unwrap();
    let session = std::fs::read(house.data.join("keys/session.key")).unwrap();
    let signature = token.rsplit('.').next().unwrap().to_owned();
    let mut all: Canaries = vec![
        ("API key", key.into_bytes()),
        ("SMTP password", tenant.password.clone().into_bytes()),
        ("webhook secret", hook.as_bytes()["whsec_".len()..].to_vec()),
        ("webhook secret, raw", raw),
        ("person's password", PASSWORD.into()),
        ("operator's password", house.text("/operator/password").into_bytes()),
        ("database password", database.into_bytes()),
        ("refresh cookie", cookie.clone().into_bytes()),
        ("token", signature.into_bytes()),
        ("master key", key_of(&master)),
        ("session key", key_of(&session)),
        // RFC 8410: how every private Ed25519 key begins, and RFC 5208 with RSA.
        (
            "Ed25519 private key",
            vec![
                0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
                0x20,
            ],
        ),
        (
            "RSA private key",
            b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x04\x82".to_vec(),
        ),
        ("PEM private key", b"PRIVATE KEY-----".to_vec()),
    ];
    // As a dump writes octets, and as JSON or MIME would.
    let written: Canaries = all
        .iter()
        .flat_map(|(name, octets)| {
            let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            let whole = &octets[..octets.len() / 3 * 3];
            [
                (*name, hex.into_bytes()),
                (*name, STANDARD.encode(whole).into_bytes()),
                (*name, URL_SAFE_NO_PAD.encode(whole).into_bytes()),
            ]
        })
        .collect();
    all.extend(written);
    all
}

/// How often each canary stands in a text.
fn found(canaries: &Canaries, text: &[u8]) -> Vec<(&'static str, usize)> {
    let mut counts: Vec<(&'static str, usize)> = Vec::new();
    for (name, octets) in canaries {
        let count = text.windows(octets.len()).filter(|window| *window == octets.as_slice()).count();
        if count > 0 {
            counts.push((name, count));
        }
    }
    counts
}

fn files(folder: &Path, all: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else {
            all.extend(std::fs::read(&path).unwrap());
        }
    }
}

fn printed(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    [output.stdout, output.stderr].concat()
}

/// Uses of every secret, right and wrong.
fn live(house: &House, tenant: &Tenant, operator: &str, said: &mut Said) {
    let letter =
        json!({"from": format!("a@{}", tenant.domain), "to": "x@gmail.com", "subject": "s", "text": "t"});
    assert_eq!(said.ask(house, ("POST", "/v1/tenants/self/messages"), &tenant.key, Some(&letter)), 202);
    for path in ["", "/api-keys", "/credentials", "/webhooks", "/domains", "/events", "/usage"] {
        assert_eq!(said.ask(house, ("GET", &format!("/v1/tenants/self{path}")), &tenant.key, None), 200);
    }
    for path in ["/v1/users", "/v1/audit?limit=200", "/v1/tenants", "/v1/pools", "/ready"] {
        assert_eq!(said.ask(house, ("GET", path), operator, None), 200);
    }
    let hook = tenant.onboarding["webhook"]["secret"].as_str().unwrap();
    // Where they do not belong: in an address, a field, a name, a header of something else.
    for secret in [tenant.key.as_str(), &tenant.password, hook, PASSWORD, operator] {
        let wrong = format!("{secret}x");
        assert_eq!(said.ask(house, ("GET", "/v1/tenants/self"), &wrong, None), 401);
        let query = format!("/v1/tenants/self/messages?key={secret}");
        assert!(said.ask(house, ("GET", &query), &tenant.key, None) >= 400);
        assert!(said.ask(house, ("GET", &format!("/v1/tenants/{secret}")), &tenant.key, None) >= 400);
        let login = json!({"email": "nobody@posthouse.test", "password": secret});
        assert_eq!(said.ask(house, ("POST", "/v1/auth/token"), "", Some(&login)), 401);
        let field = json!({"name": "Name", "scopes": [secret]});
        assert!(said.ask(house, ("POST", "/v1/tenants/self/api-keys"), &tenant.key, Some(&field)) >= 400);
    }
}

fn dump(house: &House, plot: &Plot) -> Vec<u8> {
    let programs = wait_for("pg_dump", || {
        let mut all: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
            .ok()?
            .flatten()
            .map(|one| one.path().join("bin/pg_dump"))
            .collect();
        all.sort();
        all.pop().filter(|path| path.exists())
    });
    let file = plot.path().join("dump.sql");
    let status = Command::new(programs)
        .arg("--dbname")
        .arg(house.text("/database"))
        .arg("--file")
        .arg(&file)
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::read(file).unwrap()
}

#[test]
fn no_secret_is_found_where_none_belongs() {
    let plot = talkative();
    let house = plot.start();
    let (tenant, sink) = house.onboard("keeper", "keeper.example", "127.0.8.1");
    let operator = house.operator();
    let person =
        json!({"email": "eve@keeper.example", "password": PASSWORD, "role": "admin", "tenant": tenant.id});
    assert_eq!(house.api("POST", "/v1/users", &operator, Some(&person)).0, 201);
    let session = login(&house, "eve@keeper.example", PASSWORD);
    let canaries = canaries(&house, &tenant, &session);
    let mut said = Said::default();
    live(&house, &tenant, &operator, &mut said);
    house.arrivals("x@gmail.com", 1);
    wait_for("a webhook call", || {
        let calls = house.fetch(&sink)["calls"].as_array().cloned().unwrap_or_default();
        (!calls.is_empty()).then_some(())
    });
    let mut places = vec![
        ("the log", plot.log().into_bytes()),
        ("a dump", dump(&house, &plot)),
        ("answers", said.0.into_bytes()),
        ("metrics", house.api("GET", "/metrics", "", None).1.to_string().into_bytes()),
    ];
    let mut journal = Vec::new();
    files(&house.data.join("spool"), &mut journal);
    places.push(("the journal", journal));
    let configuration = plot.path().join("posthouse.toml");
    for words in [&["check-config", "--config"][..], &["doctor", "--config"]] {
        let mut command = Command::new(crate::house::binary());
        command.args(words).arg(&configuration).env("POSTHOUSE__DATABASE__URL", house.text("/database"));
        places.push((words[0], printed(&mut command)));
    }
    for (place, text) in &places {
        println!("{place}: {} octets", text.len());
        assert!(text.len() > 20, "{place} is empty");
        assert_eq!(found(&canaries, text), [], "in {place}");
    }
    // The judge itself: a secret is found in what does hold it.
    let ready = serde_json::to_vec(&house.ready).unwrap();
    assert!(found(&canaries, &ready).iter().any(|(name, _)| *name == "operator's password"));
    in_memory(&house, &plot, &canaries);
    assert!(house.stop().success());
}

/// What a core file would hold: the pages that the process has written and that are in memory. Printed, because a secret
/// in use is in memory; the private keys and the mark of a person's password are there for a reason, the password itself
/// is not. A core file would hold reserved and untouched room besides, which is ten times as much.
fn in_memory(house: &House, plot: &Plot, canaries: &Canaries) {
    let file = plot.path().join("memory");
    let pid = house.ready["pid"].as_u64().unwrap();
    let octets = match written_pages(Path::new(&format!("/proc/{pid}")), &file) {
        Ok(octets) => octets,
        Err(error) => {
            return skipped("A6", &format!("the memory of a process cannot be read here: {error}"));
        }
    };
    assert!(octets > 1 << 20, "{octets} octets are not a whole process");
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    // As they are, without the other ways of writing them.
    let plain = canaries.iter().take(canaries.len() / 4);
    let wanted: Vec<String> = plain.map(|(name, octets)| format!("{name}={}", hex(octets))).collect();
    let file = file.to_str().unwrap();
    let arguments: Vec<&str> = std::iter::once(file).chain(wanted.iter().map(String::as_str)).collect();
    println!("memory: {}", python(COUNT, &arguments));
}

/// Copies what a process has in its own memory, without the pages that it never touched. Says how many octets.
fn written_pages(process: &Path, into: &Path) -> std::io::Result<u64> {
    let page = rustix::param::page_size() as u64;
    let maps = std::fs::read_to_string(process.join("maps"))?;
    let (memory, table) = (File::open(process.join("mem"))?, File::open(process.join("pagemap"))?);
    let mut copy = BufWriter::new(File::create(into)?);
    let (mut octets, mut one, mut state) = (0, vec![0; page as usize], [0; 8]);
    // `7f1c00000000-7f1c00021000 rw-p …`: private and writable, or it is a file that others can read too.
    for range in maps.lines().filter(|line| line.contains(" rw-p ")).filter_map(|line| line.split(' ').next())
    {
        let bounds =
            range.split('-').map(|bound| u64::from_str_radix(bound, 16).unwrap()).collect::<Vec<_>>();
        for at in (bounds[0]..bounds[1]).step_by(page as usize) {
            table.read_exact_at(&mut state, at / page * 8)?;
            // Bit 63: the page is there (Documentation/admin-guide/mm/pagemap.rst). It may go before it is read.
            let is_there = u64::from_ne_bytes(state) >> 63 == 1;
            if is_there && memory.read_exact_at(&mut one, at).is_ok() {
                copy.write_all(&one)?;
                octets += page;
            }
        }
    }
    copy.flush()?;
    Ok(octets)
}

/// Counts in tens of megabytes, in a moment.
const COUNT: &str = "
import sys
memory = open(sys.argv[1], 'rb').read()
counts = [(one.split('=')[0], memory.count(bytes.fromhex(one.split('=')[1]))) for one in sys.argv[2:]]
print(len(memory), 'octets:', ', '.join(f'{name} {count}' for name, count in counts))
";
