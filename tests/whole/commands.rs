//! The commands that are calls of the API, as an operator and a tenant type them.

use crate::house::{Plot, wait_for};
use crate::shell::{Shell, with_a_house};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

/// Each changes another field of what it has read: whoever is late is refused, and never puts the other's back.
fn two_change_quotas_at_once(operator: &Shell) {
    let mut refused = 0;
    for round in 1..=8 {
        let lines = [("per_second", "--per-second"), ("recipients_max", "--recipients-max")];
        let done = std::thread::scope(|scope| {
            let change =
                |(_, option)| operator.run(&format!("tenant set-quota Acme {option} {}", 100 + round));
            lines.map(|line| scope.spawn(move || change(line))).map(|thread| thread.join().unwrap())
        });
        let quota = operator.json("tenant quota Acme");
        for ((field, _), (code, said)) in lines.iter().zip(done) {
            if code == 0 {
                assert_eq!(quota[field], 100 + round, "{field} was put back: {quota}");
            } else {
                refused += 1;
                assert!(code == 65 && said.contains("changed by somebody else"), "{code}: {said}");
            }
        }
    }
    println!("{refused} of 16 changes of quotas at the same time came too late and were told so");
    operator.says("tenant set-quota Acme --per-day 1000");
}

#[test]
fn what_cannot_be_done_says_why_and_what_to_do() {
    let (plot, house, shell) = with_a_house();
    let nowhere = shell.with(&[]);
    nowhere.refuses("tenant list", 64, "--api URL");
    nowhere.refuses("login", 64, "--api URL");
    let empty =
        ["POSTHOUSE_API", "POSTHOUSE_API_KEY", "POSTHOUSE_READY_FILE", "POSTHOUSE_CA", "POSTHOUSE_TENANT"];
    shell.with(&empty.map(|name| (name, String::new()))).refuses("domain list", 64, "say where the API is");
    let nobody = shell.with(&[("POSTHOUSE_API", house.text("/api"))]);
    nobody.refuses("tenant list", 77, "posthouse login");
    let key = ("POSTHOUSE_API_KEY", "ph_live_x".to_owned());
    shell.with(std::slice::from_ref(&key)).refuses("tenant list", 64, "--api URL");
    shell.with(&[("POSTHOUSE_API", "http://192.0.2.1".to_owned()), key]).refuses(
        "tenant list",
        64,
        "without TLS",
    );
    let wrong =
        shell.with(&[("POSTHOUSE_API", house.text("/api")), ("POSTHOUSE_API_KEY", "ph_live_x".to_owned())]);
    wrong.refuses("tenant list", 77, "bad_credential");
    let gone = shell
        .with(&[("POSTHOUSE_API", "http://127.0.0.1:9".to_owned()), ("POSTHOUSE_API_KEY", "k".to_owned())]);
    gone.refuses("tenant list", 69, "does a node run there?");
    let missing = plot.path().join("nothing.json").display().to_string();
    shell.with(&[("POSTHOUSE_READY_FILE", missing)]).refuses("tenant list", 65, "does the node run?");

    shell.refuses("tenant show Nobody", 65, "no tenant \"Nobody\"");
    shell.refuses("tenant delete Demo", 64, "--yes");
    shell.refuses("tenant set-quota Demo", 64, "--per-day");
    shell.refuses("tenant pause Demo", 64, "--reason");
    shell.refuses("domain list", 65, "");
    shell.refuses("pool add new --member nobody", 65, "no source \"nobody\"");
    shell.refuses("pool add BAD_name", 65, "name: use a-z");
    shell.refuses("message show msg_x -t Demo", 65, "");
    shell.refuses("message send -t Demo --from a@demo.example", 64, "--to");
    shell.refuses("queue list --limit 0", 64, "0");
    shell.refuses("event list -t Demo --since yesterday", 64, "90m");
}

#[test]
fn an_operator_onboards_and_a_tenant_sends_by_commands_alone() {
    let (_plot, house, operator) = with_a_house();
    operator.says("source add acme-1 --address 127.2.0.77 --ehlo acme-1.posthouse.test");
    let pool = operator.says("pool add acme --member acme-1=3");
    assert!(pool.contains("weight=3"), "{pool}");
    let onboarded =
        operator.json("tenant onboard --name Acme --domain news.acme.example --pool acme --per-day 1000");
    house.lab("POST", "/dns/publish", Some(&onboarded["domain"]["records"]));

    let key = onboarded["api_key"]["secret"].as_str().unwrap().to_owned();
    let tenant = operator.with(&[("POSTHOUSE_API", house.text("/api")), ("POSTHOUSE_API_KEY", key)]);
    let domain = tenant.says("domain verify news.acme.example");
    assert!(domain.contains("state    verified"), "{domain}");
    let table = operator.says("domain list --tenant acme");
    assert!(table.lines().count() == 2 && table.contains("news.acme.example  verified"), "{table}");
    tenant.refuses("pool list", 77, "");

    let sent = tenant.json("message send --from hello@news.acme.example --to anna@gmail.com --to unknown-bert@gmail.com --subject Hello --text Hi --tag nov26 --metadata order=77");
    let message = sent["ids"][0].as_str().unwrap().to_owned();
    house.arrivals("anna@gmail.com", 1);
    let shown = wait_for("both recipients are settled", || {
        // A moment passes until the message is known to those who only read.
        let (_, shown) = tenant.run(&format!("message show {message}"));
        (shown.contains("delivered") && shown.contains("bounced")).then_some(shown)
    });
    assert!(shown.contains("recipient.unknown"), "{shown}");
    let timeline = tenant.says(&format!("message timeline {message}"));
    assert!(timeline.contains("127.2.0.77") && timeline.contains("TLSv1.3"), "{timeline}");
    let why = tenant.says(&format!("message why {message}"));
    assert!(why.contains("anna@gmail.com"), "{why}");
    let list = tenant.says("message list --tag nov26 --since 1h");
    assert!(list.contains(&message) && list.contains("Hello"), "{list}");
    let events = tenant.says("event list --since 1h");
    assert!(events.contains("message.bounced") && events.contains("unknown-bert@gmail.com"), "{events}");
    assert!(tenant.says("event list --limit 1").contains("there is more"));

    two_change_quotas_at_once(&operator);
    let quota = operator.json("tenant set-quota Acme --weight 2");
    assert_eq!((&quota["weight"], &quota["per_day"]), (&Value::from(2), &Value::from(1000)), "{quota}");
    let credential =
        tenant.says("credential add shop --domain news.acme.example --network 192.0.2.0/24 --expires 90d");
    assert!(credential.contains("password") && credential.contains("not shown again"), "{credential}");
    assert!(tenant.says("credential show shop").contains("192.0.2.0/24"));
    tenant.refuses("credential revoke shop", 64, "--yes");
    assert!(tenant.says("credential revoke shop --yes").contains("revoked   20"));
    assert!(operator.says("queue totals").contains("due"));
    operator.says("tenant pause acme --reason billing");
    assert!(operator.says("tenant list").contains("paused"));
    tenant.refuses(
        "message send --from hello@news.acme.example --to anna@gmail.com --subject Hello --text Hi",
        77,
        "paused",
    );
}

#[test]
fn a_tail_shows_events_as_they_happen() {
    let (_plot, house, operator) = with_a_house();
    let (tenant, _) = house.onboard("tail", "tail.example", "127.2.0.78");
    let mut tail = operator.command("event tail -t tail --json").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    // The second time it goes on where the first has ended.
    for _ in 0..2 {
        operator.says(&format!(
            "message send -t {} --from a@tail.example --to anna@gmail.com --subject Hello --text Hi",
            tenant.id
        ));
        let kinds: Vec<String> = lines
            .by_ref()
            .map(|line| {
                serde_json::from_str::<Value>(&line.unwrap()).unwrap()["type"].as_str().unwrap().to_owned()
            })
            .filter(|kind| kind.starts_with("message."))
            .take(2)
            .collect();
        assert_eq!(kinds, ["message.accepted", "message.delivered"]);
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn a_login_is_kept_renewed_and_ended() {
    let (_plot, house, shell) = with_a_house();
    let api = house.text("/api");
    let anybody = shell.with(&[]);
    let log_in = |password: &str| {
        let line = format!("login --api {api} --email {}", house.text("/operator/email"));
        let mut command = anybody.command(&line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = log_in("wrong");
    assert!(code == Some(77) && said.contains("wrong e-mail address or password"), "{said}");
    let password = house.text("/operator/password");
    assert_eq!(log_in(&password).0, Some(0));
    assert!(anybody.says("tenant list").contains("Demo"));

    // As if the 15 minutes of the token were over: the cookie gets the next one, and works once.
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&anybody.session).unwrap()).unwrap();
    kept["expires_at"] = "2026-01-01T00:00:00Z".into();
    let before = kept["cookie"].clone();
    std::fs::write(&anybody.session, kept.to_string()).unwrap();
    let together: Vec<_> =
        (0..4).map(|_| anybody.command("tenant list").stdout(Stdio::piped()).spawn().unwrap()).collect();
    for child in together {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("Demo"));
    }
    let kept: Value = serde_json::from_slice(&std::fs::read(&anybody.session).unwrap()).unwrap();
    assert_ne!(kept["cookie"], before);

    anybody.says("logout");
    anybody.refuses("tenant list", 64, "--api URL");
    assert!(!anybody.session.exists());
}

#[test]
fn a_shell_can_complete_the_commands() {
    let (plot, shells) = (Plot::new(), ["bash", "zsh", "fish"]);
    for shell in shells {
        let script = Shell::new(&plot).says(&format!("completion {shell}"));
        assert!(script.contains("set-quota"), "{shell}");
    }
    Shell::new(&plot).refuses("completion tcsh", 64, "bash");
}
