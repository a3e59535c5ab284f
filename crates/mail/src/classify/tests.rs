//! Every rule against its own example, the traps of the table, and tables that must not load.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::EnhancedStatus;

/// `550 5.1.1 text` as the reply that a client would have read.
fn reply(line: &str) -> Reply {
    let (code, text) = line.split_at(3);
    let text = text.trim_start();
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    match EnhancedStatus::parse(first) {
        Some(enhanced) => Reply::new(code.parse().unwrap(), Some(enhanced), rest),
        None => Reply::new(code.parse().unwrap(), None, text),
    }
}

fn rules(file: &str) -> Vec<(String, String, String)> {
    let table: toml::Table = file.parse().unwrap();
    let rows = table.get("rule").or(table.get("generic")).and_then(toml::Value::as_array);
    let text = |row: &toml::Value, key: &str| row[key].as_str().unwrap().to_string();
    rows.into_iter()
        .flatten()
        .map(|row| (text(row, "id"), text(row, "class"), text(row, "example")))
        .collect()
}

#[test]
fn every_example_is_found_by_its_own_rule_and_no_earlier_one() {
    let profiles = Profiles::shipped();
    let mut count = 0;
    for file in SHIPPED_PROVIDERS {
        let table: toml::Table = file.parse().unwrap();
        let id = table.get("id").and_then(toml::Value::as_str).unwrap_or(OTHER_PROVIDER);
        for (rule, class, example) in rules(file) {
            let found = profiles.classify(id, &reply(&example), "rcpt");
            assert_eq!(found.rule.as_deref(), Some(rule.as_str()), "{example}");
            assert_eq!(found.class.as_str(), class, "{example}");
            count += 1;
        }
    }
    assert_eq!(count, 149);
    assert_eq!(profiles.providers().count(), 26);
}

#[test]
fn damaged_tables_do_not_load() {
    let classes = "[class.unknown]\nkind = \"soft\"\nblame = \"us\"\nsuppress = \"never\"\nscope = \"site\"\nstep = \"none\"\n";
    let default = "[default]\nevidence = []\nlimits = {}\ntls = {}\n";
    let load = |provider: &str, generic: &str, enhanced: &str, classes: &str| {
        let generic = format!("generic = [{generic}]\n{default}[enhanced]\n{enhanced}");
        Profiles::load(&[&generic, provider], classes).err().map(|error| error.to_string())
    };
    let provider =
        "id = \"a\"\nlabel = \"A\"\nevidence = []\nmatch = { mx_suffix = [\".a.example\"], probe = [] }\n";
    assert_eq!(load(provider, "", "", classes), None);
    let rule = |pattern: &str, class: &str| {
        format!("{{ id = \"r\", match = '{pattern}', means = \"\", class = \"{class}\", example = \"\" }}")
    };
    assert!(load(provider, &rule("(", "unknown"), "", classes).unwrap().contains("compile"));
    assert!(load(provider, &rule("x", "nothing"), "", classes).unwrap().contains("nothing"));
    assert!(load(provider, "", "\"1.1\" = \"nothing\"", classes).unwrap().contains("nothing"));
    assert!(load(provider, "", "\"x\" = \"unknown\"", classes).unwrap().contains("subject.detail"));
    for (from, to) in
        [("none", "x2"), ("none", "pause:0h"), ("never", "after:4"), ("site", "world"), ("soft", "weak")]
    {
        assert!(load(provider, "", "", &classes.replace(from, to)).is_some(), "{to}");
    }
    for (from, to) in [
        (".a.example", "a.example"),
        (".a.example", ".a.example."),
        ("label", "lable"),
        ("\"a\"", "\"other\""),
    ] {
        assert!(load(&provider.replace(from, to), "", "", classes).is_some(), "{to}");
    }
    assert!(
        load(&format!("{provider}limits = {{ message_rate = \"fast\" }}"), "", "", classes)
            .unwrap()
            .contains("rate")
    );
    assert!(load(&format!("{provider}rules_from = \"b\""), "", "", classes).unwrap().contains("no profile"));
    assert!(Profiles::load(&[provider], classes).is_err());
}

#[test]
fn the_code_alone_decides_little() {
    let profiles = Profiles::shipped();
    let class = |line: &str| profiles.classify(OTHER_PROVIDER, &reply(line), "rcpt").class.to_string();
    assert_eq!(class("550 no"), "unknown");
    assert_eq!(class("550 5.1.1 no"), "recipient.unknown");
    assert_eq!(class("552 5.3.4 no"), "content.size");
    assert_eq!(class("552 5.2.3 no"), "content.size");
    assert_eq!(class("451 no"), "remote.overload");
    assert_eq!(class("299 no"), "unknown");
    // Google's own meaning of 7.27 to 7.30 comes before the registry's.
    let google = |line: &str| profiles.classify("google", &reply(line), "final-dot").class.to_string();
    assert_eq!(google("550 5.7.27 no SPF"), "auth.spf");
    assert_eq!(google("550 5.7.30 no DKIM"), "auth.dkim");
}

#[test]
fn a_refusal_of_starttls_is_about_tls_unless_the_provider_or_421_says_more() {
    let profiles = Profiles::shipped();
    let at =
        |stage: &str, line: &str| profiles.classify(OTHER_PROVIDER, &reply(line), stage).class.to_string();
    for line in [
        "454 4.7.0 TLS not available due to temporary reason",
        "454 4.7.0 no TLS today",
        "454 TLS not available",
        "450 4.7.1 policy",
        "502 5.5.1 not implemented",
        "554 5.7.3 Unable to initialize security subsystem",
    ] {
        assert_eq!(at("starttls", line), "tls.failed", "{line}");
        assert_ne!(at("rcpt", line), "tls.failed", "{line}");
    }
    assert_eq!(at("starttls", "421 4.3.2 closing"), at("mail", "421 4.3.2 closing"));
    let found = profiles.classify(OTHER_PROVIDER, &reply("554 5.7.3 no"), "starttls");
    assert_eq!((found.kind, found.scope, found.rule), (ClassKind::Soft, Scope::Session, None));
}

#[test]
fn the_verdict_follows_the_code_but_for_throttles_that_say_5yz() {
    let profiles = Profiles::shipped();
    let found = |id: &str, line: &str| {
        let found = profiles.classify(id, &reply(line), "rcpt");
        (found.kind, found.verdict(), found.suppress)
    };
    let unknown = "550 5.1.1 The email account that you tried to reach does not exist NoSuchUser";
    assert_eq!(found("google", unknown), (ClassKind::Hard, Verdict::Failed, Suppress::Now));
    assert_eq!(found("other", "450 4.1.1 User unknown").0, ClassKind::Soft);
    assert_eq!(found("other", "450 4.1.1 User unknown").2, Suppress::Never);
    assert_eq!(found("other", "550 what").1, Verdict::Failed);
    assert_eq!(found("other", "450 what").1, Verdict::Deferred);
    assert_eq!(found("microsoft-365", "550 5.7.508 Access denied, exceeded").1, Verdict::Deferred);
    let receiving = "550 5.2.1 The user is receiving mail at a rate ReceivingRatePerm";
    assert_eq!(found("google", receiving), (ClassKind::Soft, Verdict::Deferred, Suppress::Never));
}

#[test]
fn the_scope_grows_with_the_stage() {
    let profiles = Profiles::shipped();
    let scope = |line: &str, stage: &str| profiles.classify("other", &reply(line), stage).scope;
    assert_eq!(scope("550 5.1.1 user unknown", "rcpt"), Scope::Recipient);
    assert_eq!(scope("554 5.7.1 spam", "final-dot"), Scope::Message);
    assert_eq!(scope("421 4.1.1 bye", "rcpt"), Scope::Session);
    assert_eq!(scope("554 what", "greeting"), Scope::Path);
    assert_eq!(scope("450 what", "greeting"), Scope::Session);
    assert_eq!(scope("421 4.7.0 Too many concurrent SMTP connections", "greeting"), Scope::Path);
    // One mailbox with trouble must not hold back a site.
    assert_eq!(scope("451 4.3.0 Temporary lookup failure", "final-dot"), Scope::Recipient);
}

#[test]
fn a_provider_needs_all_hosts() {
    let profiles = Profiles::shipped();
    let id = |hosts: &[&str]| profiles.provider_of(hosts).id.to_string();
    assert_eq!(id(&["gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.GOOGLE.com."]), "google");
    assert_eq!(id(&["aspmx.l.google.com", "mx.client.example"]), "other");
    assert_eq!(id(&["evilgoogle.com"]), "other");
    assert_eq!(id(&[]), "other");
    assert_eq!(id(&["hotmail-com.olc.protection.outlook.com"]), "microsoft-consumer");
    let japan = Domain::parse("yahoo.co.jp").unwrap();
    assert_eq!(&*profiles.provider_for(&japan, &["mx5.mail.yahoo.co.jp"]).id, "yahoo-jp");
    let limits = &profiles.provider("google").unwrap().limits;
    assert_eq!((limits.connections, limits.messages_per_connection), (Some(5), Some(50)));
    assert_eq!(limits.message_rate.unwrap().to_string(), "100/s");
}

#[test]
fn causes_of_our_own_have_classes_too() {
    let profiles = Profiles::shipped();
    for name in
        ["remote.down", "tls.failed", "tls.required", "protocol", "domain.bad", "remote.config", "loop"]
    {
        let class = profiles.class(name).unwrap();
        assert_eq!(profiles.describe_cause(&class).verdict(), Verdict::Deferred, "{name}");
    }
    assert_eq!(profiles.class("made.up"), None);
}
