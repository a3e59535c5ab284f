//! Keys are exchanged while people, credentials and mail go on.

use crate::house::{House, Plot, Tenant, binary, python, wait_for, web};
use crate::shell::Shell;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthouse_tests::postgres::Outside;
use serde_json::{Value, json};
use std::process::Command;

const SEND: &str = "
import smtplib, ssl, sys
port, user, password, sender, to = sys.argv[1:]
smtp = smtplib.SMTP('127.0.0.1', int(port), timeout=60)
smtp.starttls(context=ssl._create_unverified_context())
smtp.login(user, password)
smtp.sendmail(sender, [to], f'From: {sender}\\r\\nTo: {to}\\r\\nSubject: Keys\\r\\n\\r\\nx\\r\\n')
smtp.quit()
";

/// Signed mail, sent with the tenant's first password, and arrived.
fn send(house: &House, tenant: &Tenant, to: &str) {
    let door = house.text("/smtp/submission");
    let (port, from) = (door.rsplit(':').next().unwrap(), format!("hello@{}", tenant.domain));
    python(SEND, &[port, &tenant.username, &tenant.password, &from, to]);
    let raw = STANDARD.decode(house.arrivals(to, 1)[0]["raw"].as_str().unwrap()).unwrap();
    let raw = String::from_utf8(raw).unwrap();
    let signed = raw.matches(&format!("d={};", tenant.domain)).count();
    assert!(signed >= 2, "{raw}");
}

fn return_path(house: &House, to: &str) -> String {
    house.arrivals(to, 1)[0]["mail_from"].as_str().unwrap().to_owned()
}

/// What the door for returned mail answers to this recipient.
fn said_to(house: &House, path: &str) -> String {
    let door = house.text("/smtp/inbound");
    let script = "
import smtplib, sys
smtp = smtplib.SMTP('127.0.0.1', int(sys.argv[1]), timeout=60)
smtp.ehlo()
smtp.docmd('MAIL FROM:<>')
print(*smtp.docmd('RCPT TO:<' + sys.argv[2] + '>'))
";
    python(script, &[door.rsplit(':').next().unwrap(), path])
}

fn states(shell: &Shell, data: &str) -> Vec<String> {
    shell.json(&format!("keys show --data {data}"))["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| format!("{} {} {}", key["kind"], key["version"], key["state"]).replace('"', ""))
        .collect()
}

fn refuses_what_would_harm(shell: &Shell, data: &str) {
    shell.refuses(&format!("keys retire master 1 --data {data}"), 65, "is in force");
    shell.refuses(&format!("keys retire session 7 --data {data}"), 65, "there is no version 7");
    shell.refuses(&format!("keys rotate session --from yesterday --data {data}"), 64, "2026-12-01T12:00:00Z");
    shell.refuses(&format!("keys rotate session --from 2020-01-01T00:00:00Z --data {data}"), 64, "is over");
    shell.refuses("keys rotate master --data /nowhere", 65, "--data DIR");
    assert!(shell.says("keys show --data /nowhere").contains("none in /nowhere/keys/master.key"));
}

/// A call that is done once, however often it is made; its answer holds a secret.
fn make_key(house: &House, tenant: &Tenant) -> Value {
    let url = format!("{}/v1/tenants/{}/api-keys", house.text("/api"), tenant.id);
    let body = json!({"name": "kept", "scopes": ["send"]}).to_string();
    let request = web().post(url).bearer_auth(&tenant.key).header("idempotency-key", "kept").body(body);
    let answer = request.header("content-type", "application/json").send().unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().unwrap());
    assert_eq!(status, 201, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn both_keys_are_exchanged_and_nobody_is_locked_out() {
    let plot = Plot::new();
    let house = plot.start();
    let shell = Shell::new(&plot);
    let data = plot.path().join("data").display().to_string();
    let (tenant, _) = house.onboard("acme", "news.acme.example", "127.2.0.77");
    send(&house, &tenant, "one@gmail.com");
    let first_token = house.operator();
    let kept = make_key(&house, &tenant);
    refuses_what_would_harm(&shell, &data);
    // A key that was planned for some day; then one is needed at once, twice at the same time.
    shell.says(&format!("keys rotate session --from 2062-01-01T00:00:00Z --data {data}"));
    let rotate = || shell.command(&format!("keys rotate session --data {data}")).spawn().unwrap();
    for mut command in [rotate(), rotate()] {
        assert!(command.wait().unwrap().success());
    }
    for (kind, version) in [("master", 2), ("session", 5)] {
        let rotated = shell.json(&format!("keys rotate {kind} --data {data}"));
        assert_eq!((rotated["kind"].as_str(), rotated["version"].as_u64()), (Some(kind), Some(version)));
        // A node that was not restarted goes on with the old one.
        house.get("/v1/tenants", &first_token);
    }
    // The key is there, and everything is still sealed with the first.
    shell.refuses(&format!("keys retire master 1 --data {data}"), 65, "are still sealed with version 1");
    shell.refuses(&format!("keys retire session 1 --data {data}"), 65, "is needed until");
    // Made with the old key at a time that is the new one's.
    send(&house, &tenant, "between@gmail.com");
    let path = return_path(&house, "between@gmail.com");
    assert!(house.stop().success());

    let house = plot.start();
    // Logins, API keys and passwords of before are good; new ones are of the new key.
    house.get("/v1/tenants", &first_token);
    house.get("/v1/tenants", &house.operator());
    house.get(&format!("/v1/tenants/{}", tenant.id), &tenant.key);
    send(&house, &tenant, "two@gmail.com");
    assert_eq!(make_key(&house, &tenant), kept, "the answer was sealed with the old key");
    for path in [path, return_path(&house, "two@gmail.com")] {
        let (known, unknown) = (said_to(&house, &path), said_to(&house, &path.replacen("b+", "b+1", 1)));
        assert!(!known.starts_with("550") && unknown.starts_with("550"), "{path}: {known}, not {unknown}");
    }
    wait_for("the secrets to be sealed anew", || {
        let (code, said) = shell.run(&format!("keys retire master 1 --data {data}"));
        assert!(
            code == 0 || said.contains("still sealed") || said.contains("nothing in this"),
            "{code}: {said}"
        );
        (code == 0).then_some(())
    });
    shell.refuses(&format!("keys retire master 1 --data {data}"), 65, "retired already");
    for version in 1..5 {
        shell.says(&format!("keys retire session {version} --at-once --data {data}"));
    }
    let shown = shell.says(&format!("keys show --data {data}"));
    println!("{shown}");
    let states = states(&shell, &data);
    assert_eq!(states, ["master 1 retired", "master 2 in_force", "session 5 in_force"]);
    let second_token = house.operator();
    assert!(house.stop().success());

    let house = plot.start();
    house.get("/v1/tenants", &second_token);
    assert_eq!(house.api("GET", "/v1/tenants", &first_token, None).0, 401, "its key was thrown away");
    house.get(&format!("/v1/tenants/{}", tenant.id), &tenant.key);
    send(&house, &tenant, "three@gmail.com");
    assert!(house.stop().success());
    let log = plot.log();
    assert!(log.contains("sealed with the one in force"), "{log}");
}

/// The file says what is wrong with it and is never replaced by a fresh one, which would lose every secret.
#[test]
fn a_damaged_master_key_keeps_a_node_from_starting() {
    let plot = Plot::new();
    assert!(plot.start().stop().success());
    let file = plot.path().join("data/keys/master.key");
    let whole = std::fs::read_to_string(&file).unwrap();
    let damaged = format!("{whole}posthouse-master-key-2 half a line\n");
    std::fs::write(&file, &damaged).unwrap();
    let mut child = plot.command().spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(69));
    let log = plot.log();
    assert!(log.contains("line 2 cannot be read") && log.contains("restore it from your backup"), "{log}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), damaged);
    std::fs::write(&file, whole).unwrap();
    assert!(plot.start().stop().success());
}

fn doctor(plot: &Plot) -> (i32, String) {
    let mut command = Command::new(binary());
    command.arg("doctor").arg(plot.path().join("posthouse.toml")).arg("--data").arg(plot.path().join("data"));
    let output = command.envs(plot.settings()).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stdout).unwrap())
}

/// It would be ready, refuse every credential, and seal what is new with a key that nobody else has.
#[test]
fn a_node_whose_master_key_opens_nothing_is_not_started() {
    let outside = Outside::new();
    let mut plot = Plot::new().with_database(outside.url());
    plot.set("database.url", outside.url());
    let house = plot.start();
    let (tenant, _) = house.onboard("acme", "news.acme.example", "127.2.0.78");
    send(&house, &tenant, "one@gmail.com");
    assert!(house.stop().success());
    let (file, away) = (plot.path().join("data/keys/master.key"), plot.path().join("away.key"));
    std::fs::rename(&file, &away).unwrap();
    let refused = || {
        let before = plot.log().len();
        assert_eq!(plot.command().spawn().unwrap().wait().unwrap().code(), Some(78), "{}", plot.log());
        plot.log().split_off(before)
    };
    let log = refused();
    assert!(log.contains("none of the keys in") && log.contains("from your backup"), "{log}");
    assert!(log.contains("removed it again") && !file.exists(), "{log}");
    let (code, said) = doctor(&plot);
    assert!(
        code == 78 && said.contains("none of the keys in") && said.contains("--master-key-lost"),
        "{said}"
    );
    // That of another installation is left alone: it may be the only one of its kind.
    let foreign = STANDARD.encode([9; 32]);
    let whole = std::fs::read_to_string(&away).unwrap();
    std::fs::write(&file, whole.replace(whole.split_whitespace().last().unwrap(), &foreign)).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let log = refused();
    assert!(log.contains("none of the keys in") && !log.contains("removed it"), "{log}");
    assert!(file.exists());

    std::fs::rename(&away, &file).unwrap();
    let house = plot.start();
    house.get(&format!("/v1/tenants/{}", tenant.id), &tenant.key);
    send(&house, &tenant, "two@gmail.com");
    let (_, said) = doctor(&plot);
    assert!(said.contains("it opens secrets of the database"), "{said}");
    assert!(house.stop().success());

    // Lost for good, and said so.
    std::fs::remove_file(&file).unwrap();
    let mut command = plot.command();
    command.args(["--lab", "--master-key-lost"]);
    let house = plot.spawn(command);
    assert_eq!(house.api("GET", "/v1/tenants/self", &tenant.key, None).0, 401);
    house.onboard_into("again", "again.example", "acme");
    assert!(house.stop().success());
    assert!(plot.start().stop().success(), "what is new opens");
}
