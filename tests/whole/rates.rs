//! Limits that nobody gets around (A9): not by another spelling of a path, by made-up addresses of the client, by many keys,
//! or by many streams of one connection.

use crate::house::{House, Plot, Tenant, web};
use posthouse_tests::client::Door;
use posthouse_tests::lab::Lab;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Requests a second of a key, and of a tenant; ten seconds' worth may come at once.
const KEY_RATE: f64 = 2.0;
const TENANT_RATE: f64 = 4.0;
const BURST_SECONDS: f64 = 10.0;

#[expect(clippy::disallowed_methods, reason = "a client outside of the house has its own clock")]
fn watch() -> Instant {
    Instant::now()
}

/// One request by hand; status and Retry-After.
fn ask(house: &House, path: &str, lines: &str) -> (u16, Option<u64>) {
    ask_from(None, house, "GET", path, lines, "")
}

fn ask_from(
    from: Option<IpAddr>,
    house: &House,
    method: &str,
    path: &str,
    lines: &str,
    body: &str,
) -> (u16, Option<u64>) {
    let address: SocketAddr = house.text("/api").trim_start_matches("http://").parse().unwrap();
    let mut stream = match from {
        None => TcpStream::connect(address).unwrap(),
        Some(from) => connect_from(from, address),
    };
    stream.set_read_timeout(Some(crate::house::PATIENCE)).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: posthouse.test\r\nConnection: close\r\n{lines}");
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    };
    stream.write_all(format!("{head}{length}\r\n{body}").as_bytes()).unwrap();
    let mut said = Vec::new();
    // A reset behind the answer is no matter.
    let _ = stream.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said).to_ascii_lowercase();
    let status = said.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
    let retry = said.split("retry-after: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    (status, retry)
}

fn connect_from(from: IpAddr, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

struct Scene {
    house: House,
    tenants: Vec<Tenant>,
    _lab: Lab,
    _plot: Plot,
}

fn scene(settings: &[(&str, &str)], host: u8) -> Scene {
    let (lab, mut plot) = Lab::with_plot();
    settings.iter().for_each(|(key, value)| plot.set(key, value));
    let house = plot.start_in(&lab);
    let onboard = |number: u8| {
        house
            .onboard(
                &format!("rate{number}"),
                &format!("rate{number}.example"),
                &format!("127.2.0.{}", host + number),
            )
            .0
    };
    let tenants = vec![onboard(0), onboard(1)];
    Scene { house, tenants, _lab: lab, _plot: plot }
}

/// Asks until there is a 429, which says when to come back.
fn use_up(house: &House, key: &str) {
    for _ in 0..200 {
        let (status, retry) = ask(house, "/v1/tenants/self", &bearer(key));
        if status == 429 {
            assert!(retry.is_some_and(|seconds| seconds >= 1), "{retry:?}");
            return;
        }
        assert_eq!(status, 200);
    }
    panic!("200 requests and no limit");
}

#[test]
fn a_request_rate_is_of_the_key_and_the_tenant_however_they_dress() {
    let (key_rate, tenant_rate) = (KEY_RATE.to_string(), TENANT_RATE.to_string());
    let settings =
        [("api.requests_per_second", &*key_rate), ("api.tenant_requests_per_second", &*tenant_rate)];
    let scene = scene(&settings, 180);
    let house = &scene.house;
    disguises(house, &scene.tenants[0]);
    many_streams(house, &scene.tenants[0].key);
    many_keys(house, &scene.tenants[1]);
    assert_eq!(scene.house.stop().code(), Some(0));
}

/// One key that has used up its rate, in every dress.
fn disguises(house: &House, tenant: &Tenant) {
    let key = &tenant.key;
    use_up(house, key);
    let began = watch();
    let (mut served, mut limited, mut strange) = (0, 0, 0);
    let id = &tenant.id;
    let paths = [
        "/v1/tenants/self".to_owned(),
        "/V1/tenants/self".to_owned(),
        "/v1/Tenants/self".to_owned(),
        "/v1/tenants/SELF".to_owned(),
        "/v1/tenants/self/".to_owned(),
        "//v1/tenants/self".to_owned(),
        "/v1//tenants/self".to_owned(),
        "/v1/./tenants/self".to_owned(),
        "/v1/x/../tenants/self".to_owned(),
        "/v1/tenants/%73elf".to_owned(),
        "/v1/tenants/self;a=b".to_owned(),
        "/v1/tenants/self?a=b".to_owned(),
        "/v1/tenants/self#a".to_owned(),
        format!("/v1/tenants/{id}"),
        format!("/v1/tenants/{}", id.to_uppercase()),
        "http://other.test/v1/tenants/self".to_owned(),
    ];
    let dresses = [
        bearer(key),
        format!("authorization:bearer {key}\r\n"),
        format!("AUTHORIZATION: BEARER   {key}  \r\n"),
        format!("{}X-Forwarded-For: 192.0.2.{{n}}\r\n", bearer(key)),
        format!("{}Forwarded: for=192.0.2.{{n}};proto=https\r\n", bearer(key)),
        format!(
            "{}X-Real-IP: 192.0.2.{{n}}\r\nTrue-Client-IP: 192.0.2.{{n}}\r\nCF-Connecting-IP: 192.0.2.{{n}}\r\n",
            bearer(key)
        ),
        format!(
            "{}X-Original-URL: /health\r\nX-Rewrite-URL: /health\r\nX-HTTP-Method-Override: HEAD\r\n",
            bearer(key)
        ),
        format!("{}User-Agent: {{n}}\r\nCookie: a={{n}}\r\nRequest-Id: {{n}}\r\n", bearer(key)),
    ];
    let mut number = 0;
    for path in &paths {
        for dress in &dresses {
            number += 1;
            match ask(house, path, &dress.replace("{n}", &(number % 250).to_string())) {
                (200, _) => served += 1,
                (429, retry) => {
                    assert!(retry.is_some_and(|seconds| seconds >= 1), "{path}: {retry:?}");
                    limited += 1;
                }
                // No such path, or no such key: nothing was served.
                (400 | 401 | 404 | 422, _) => strange += 1,
                (status, _) => panic!("{path}: {status}"),
            }
        }
    }
    let allowed = (began.elapsed().as_secs_f64() * KEY_RATE).ceil() as usize + 1;
    println!(
        "A9: one key in {number} dresses: {served} served of {allowed} allowed, {limited} limited, {strange} refused otherwise"
    );
    assert!(served <= allowed, "{served} served, {allowed} allowed");
    assert!(limited >= 30, "only {limited} were limited");
}

/// HTTP/2: many requests on one connection at the same time.
fn many_streams(house: &House, key: &str) {
    let client = reqwest::blocking::Client::builder().http2_prior_knowledge().build().unwrap();
    let url = format!("{}/v1/tenants/self", house.text("/api"));
    use_up(house, key);
    let (began, served, asked) = (watch(), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                for _ in 0..8 {
                    let answer = client.get(&url).bearer_auth(key).send().unwrap();
                    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
                    asked.fetch_add(1, Ordering::SeqCst);
                    match answer.status().as_u16() {
                        200 => drop(served.fetch_add(1, Ordering::SeqCst)),
                        status => {
                            assert_eq!((status, answer.headers().contains_key("retry-after")), (429, true))
                        }
                    }
                }
            });
        }
    });
    let (served, asked) = (served.into_inner(), asked.into_inner());
    let allowed = (began.elapsed().as_secs_f64() * KEY_RATE).ceil() as usize + 1;
    println!("A9: {asked} requests over HTTP/2, 32 at a time: {served} served of {allowed} allowed");
    assert!(served <= allowed, "{served} served, {allowed} allowed");
}

/// As many keys as one likes: together they have the rate of a tenant.
fn many_keys(house: &House, tenant: &Tenant) {
    let body = json!({"name": "more", "scopes": ["read"]});
    let began = watch();
    let keys: Vec<String> = (0..8)
        .map(|_| {
            let (status, key) = house.api("POST", "/v1/tenants/self/api-keys", &tenant.key, Some(&body));
            assert_eq!(status, 201, "{key}");
            key["secret"].as_str().unwrap().to_owned()
        })
        .collect();
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for key in &keys {
            let served = &served;
            scope.spawn(move || {
                for _ in 0..25 {
                    match ask(house, "/v1/tenants/self", &bearer(key)) {
                        (200, _) => drop(served.fetch_add(1, Ordering::SeqCst)),
                        (status, retry) => assert_eq!((status, retry.is_some()), (429, true)),
                    }
                }
            });
        }
    });
    let served = served.into_inner();
    let allowed = ((began.elapsed().as_secs_f64() + BURST_SECONDS) * TENANT_RATE).ceil() as usize + 1;
    println!("A9: 8 keys of a tenant, 200 requests: {served} served of {allowed} allowed");
    assert!(served <= allowed, "{served} served, {allowed} allowed");
}

/// Mail has a rate of its own, whichever door and key it comes by.
#[test]
fn a_tenant_has_its_rate_of_recipients_over_all_keys_and_doors() {
    const PER_SECOND: f64 = 10.0;
    let scene = scene(&[], 184);
    let (house, tenant) = (&scene.house, &scene.tenants[0]);
    let path = format!("/v1/tenants/{}/quotas", tenant.id);
    let operator = house.operator();
    let mut plan = house.get(&path, &operator);
    plan["per_second"] = json!(PER_SECOND as u64);
    assert_eq!(house.api("PUT", &path, &operator, Some(&plan)).0, 200);
    let make = |_| {
        let body = json!({"name": "more", "scopes": ["send"]});
        let (status, key) = house.api("POST", "/v1/tenants/self/api-keys", &tenant.key, Some(&body));
        assert_eq!(status, 201, "{key}");
        key["secret"].as_str().unwrap().to_owned()
    };
    let keys: Vec<String> = (0..4).map(make).collect();
    let door = Door::of(house, tenant);
    let (taken, limited, stop, began) =
        (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false), watch());
    std::thread::scope(|scope| {
        for key in &keys {
            scope.spawn(|| by_http(house, tenant, key, (&taken, &limited, &stop)));
        }
        scope.spawn(|| by_smtp(&door, (&taken, &limited, &stop)));
        crate::house::let_pass(Duration::from_secs(3));
        stop.store(true, Ordering::SeqCst);
    });
    let allowed = ((began.elapsed().as_secs_f64() + 1.0) * PER_SECOND).ceil() as usize + 1;
    let (taken, limited) = (taken.into_inner(), limited.into_inner());
    println!(
        "A9: 4 keys and SMTP of a tenant with {PER_SECOND} recipients a second: {taken} taken of {allowed} allowed, {limited} told to wait"
    );
    assert!(taken <= allowed && limited > 0, "{taken} taken, {allowed} allowed, {limited} told to wait");
    assert_eq!(scene.house.stop().code(), Some(0));
}

type Counts<'a> = (&'a AtomicUsize, &'a AtomicUsize, &'a AtomicBool);

fn by_http(house: &House, tenant: &Tenant, key: &str, (taken, limited, stop): Counts<'_>) {
    let url = format!("{}/v1/tenants/self/messages", house.text("/api"));
    let message =
        json!({"from": format!("x@{}", tenant.domain), "to": "anna@gmail.com", "subject": "s", "text": "t"});
    let client = web();
    while !stop.load(Ordering::SeqCst) {
        let request = client.post(&url).bearer_auth(key).header("content-type", "application/json");
        let answer = request.header("x-forwarded-for", "192.0.2.1").body(message.to_string()).send().unwrap();
        match answer.status().as_u16() {
            202 => drop(taken.fetch_add(1, Ordering::SeqCst)),
            status => {
                assert_eq!((status, answer.headers().contains_key("retry-after")), (429, true));
                limited.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

fn by_smtp(door: &Door, (taken, limited, stop): Counts<'_>) {
    let raw = format!("From: {}\r\nSubject: s\r\n\r\nx\r\n", door.sender);
    while !stop.load(Ordering::SeqCst) {
        let mut client = door.connect().unwrap();
        let reply = client.submit(&door.sender, &["anna@gmail.com".to_owned()], raw.as_bytes()).unwrap();
        match reply.code {
            250 => drop(taken.fetch_add(1, Ordering::SeqCst)),
            code => {
                assert!(code == 451 && reply.text.starts_with("4.7.1"), "{code} {}", reply.text);
                limited.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// A person's name is one name in every spelling, and an address is what the socket says.
#[test]
fn guesses_are_counted_whatever_address_a_client_claims_and_however_it_spells_a_name() {
    const HEARD_MAX: usize = 20;
    let settings = [
        ("api.login.delay_ms_first", "1"),
        ("api.login.delay_ms_max", "1"),
        ("api.login.failures_per_credential_minute_max", "20"),
    ];
    let scene = scene(&settings, 188);
    let house = &scene.house;
    let name = house.ready["operator"]["email"].as_str().unwrap().to_owned();
    let spelled = |number: usize| -> String {
        name.char_indices()
            .map(|(at, c)| if number >> (at % 6) & 1 == 1 { c.to_ascii_uppercase() } else { c })
            .collect()
    };
    let guess = |network: usize, number: usize| {
        let body: Value = json!({"email": spelled(number), "password": format!("wrong {number}")});
        let lines = format!(
            "X-Forwarded-For: 192.0.2.{0}\r\nForwarded: for=198.51.100.{0}\r\nX-Real-IP: 203.0.113.{0}\r\n",
            number % 250
        );
        let from: IpAddr = format!("127.7.{network}.9").parse().unwrap();
        ask_from(Some(from), house, "POST", "/v1/auth/token", &lines, &body.to_string())
    };
    let count = |network: usize| {
        let answers: Vec<_> = (0..14).map(|number| guess(network, network * 14 + number)).collect();
        for (status, retry) in answers.iter().filter(|(status, _)| *status != 401) {
            assert_eq!((*status, retry.is_some()), (429, true));
        }
        answers.iter().filter(|(status, _)| *status == 401).count()
    };
    let heard: Vec<usize> = (0..6).map(count).collect();
    println!("A9: 14 guesses of one name from each of 6 networks: heard {heard:?}");
    assert!(heard.iter().all(|heard| *heard <= 8), "{heard:?}");
    assert!(heard.iter().sum::<usize>() <= HEARD_MAX, "{heard:?}");
    // The owner, where he logged in before, is not kept out.
    assert_eq!(house.api("POST", "/v1/auth/token", "", Some(&house.ready["operator"])).0, 200);
    assert_eq!(scene.house.stop().code(), Some(0));
}
