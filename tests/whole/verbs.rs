//! What happens to a tenant, its domains, credentials and mail by commands alone; and that no verb of the command line
//! is left without a test that runs it.

use crate::house::{House, wait_for};
use crate::shell::{Shell, with_a_house};
use serde_json::Value;

const NOUNS: [&str; 10] =
    ["tenant", "domain", "credential", "api-key", "pool", "source", "webhook", "message", "queue", "event"];
/// Where the commands are run.
const TESTS: [&str; 3] = [include_str!("commands.rs"), include_str!("nouns.rs"), include_str!("verbs.rs")];

/// A shell that has the key of a new tenant.
fn of_new_tenant(house: &House, operator: &Shell, name: &str) -> Shell {
    let (tenant, _) = house.onboard(name, &format!("{name}.example"), "127.2.0.81");
    operator.with(&[("POSTHOUSE_API", house.text("/api")), ("POSTHOUSE_API_KEY", tenant.key)])
}

/// Is the command run in this line? One that is refused does not count.
fn runs(line: &str, command: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
    let code = line.trim_start();
    !code.starts_with("//")
        && !code.contains("refuses(")
        && code.match_indices(command).any(|(at, _)| {
            let (before, after) = (&code[..at], &code[at + command.len()..]);
            before.ends_with('"') && !after.starts_with(is_word)
        })
}

#[test]
fn no_verb_is_without_a_test_that_runs_it() {
    let plot = crate::house::Plot::new();
    let shell = Shell::new(&plot);
    let mut forgotten = Vec::new();
    for noun in NOUNS {
        let help = shell.says(&format!("{noun} --help"));
        let verbs = help.split("Commands:\n").nth(1).unwrap_or_else(|| panic!("{help}"));
        let verbs = verbs.lines().take_while(|line| !line.is_empty());
        // What a verb does may take a second line, further in.
        let verbs = verbs.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
        let verbs: Vec<&str> = verbs.filter_map(|line| line.split_whitespace().next()).collect();
        assert!(verbs.len() > 2 && verbs.last() == Some(&"help"), "{noun}: {verbs:?}");
        for verb in &verbs[..verbs.len() - 1] {
            let command = format!("{noun} {verb}");
            if !TESTS.iter().flat_map(|test| test.lines()).any(|line| runs(line, &command)) {
                forgotten.push(command);
            }
        }
    }
    assert!(forgotten.is_empty(), "no test of tests/whole runs {forgotten:?}");
    assert!(!runs("operator.refuses(\"tenant delete x\", 64, \"\")", "tenant delete"));
    assert!(!runs("operator.says(\"queue list-all\")", "queue list"));
}

#[test]
fn a_tenant_is_paused_quarantined_renamed_counted_and_deleted() {
    let (_plot, house, operator) = with_a_house();
    let tenant = of_new_tenant(&house, &operator, "verbs");
    let status = || operator.json("tenant show verbs")["status"].as_str().unwrap().to_owned();
    let line = "message send --from a@verbs.example --to anna@gmail.com --subject Hello --text Hi";
    tenant.says(line);
    house.arrivals("anna@gmail.com", 1);
    let used = wait_for("the mail is counted", || {
        let table = operator.says("tenant usage verbs --since 1d");
        table.contains("delivered").then_some(table)
    });
    assert!(used.contains("DAY") && used.contains("STREAM"), "{used}");
    let used = operator.json("tenant usage verbs")["data"].clone();
    assert!(used[0]["counts"].to_string().contains("delivered"), "{used}");
    assert!(operator.says("tenant usage verbs --until 30d").contains("nothing"));

    operator.says("tenant pause verbs --reason billing");
    wait_for("the pause is known", || (tenant.run(line).0 == 77).then_some(()));
    let resumed = operator.says("tenant resume verbs --reason paid");
    assert!(resumed.contains("active"), "{resumed}");
    wait_for("the mail is taken again", || (tenant.run(line).0 == 0).then_some(()));
    operator.refuses("tenant quarantine verbs", 64, "--reason");
    let stopped = operator.says("tenant quarantine verbs --reason phishing");
    assert!(stopped.contains("quarantined") && stopped.contains("phishing"), "{stopped}");
    assert_eq!(status(), "quarantined");
    assert_eq!(operator.json("tenant release verbs --reason false-alarm")["status"], "active");
    assert_eq!(status(), "active");

    assert!(operator.says("tenant rename verbs Words").contains("Words"));
    operator.refuses("tenant show verbs", 65, "no tenant \"verbs\"");
    operator.refuses("tenant delete Words", 64, "--yes");
    let gone = operator.json("tenant delete Words --yes");
    assert_ne!(gone["status"], "active", "{gone}");
    wait_for("its key to end", || (tenant.run("event list").0 == 77).then_some(()));
}

#[test]
fn a_domain_is_added_signed_anew_suspended_and_deleted() {
    let (_plot, house, operator) = with_a_house();
    let tenant = of_new_tenant(&house, &operator, "domains");
    let added = tenant.says("domain add shop.domains.example");
    assert!(added.contains("pending") && added.contains("_domainkey"), "{added}");
    tenant.refuses("domain add shop.domains.example", 65, "");
    tenant.refuses("domain add not_a_domain", 65, "name");
    let shown = tenant.json("domain show shop.domains.example");
    house.lab("POST", "/dns/publish", Some(&shown["records"]));
    assert_eq!(tenant.json("domain verify shop.domains.example")["state"], "verified");
    assert!(tenant.says("domain show shop.domains.example").contains("verified"));

    let selectors = |keys: &Value| -> Vec<String> {
        let keys = keys["data"].as_array().unwrap_or_else(|| panic!("{keys}"));
        keys.iter().map(|key| key["selector"].as_str().unwrap().to_owned()).collect()
    };
    let before = selectors(&tenant.json("domain keys shop.domains.example"));
    let table = tenant.says("domain keys shop.domains.example");
    assert!(table.contains("SELECTOR") && before.iter().all(|name| table.contains(name)), "{table}");
    let rotated = tenant.says("domain rotate-keys shop.domains.example");
    let after = selectors(&tenant.json("domain keys shop.domains.example"));
    let fresh: Vec<&String> = after.iter().filter(|name| !before.contains(name)).collect();
    assert!(!fresh.is_empty() && before.iter().all(|name| after.contains(name)), "{before:?} {after:?}");
    assert!(fresh.iter().all(|name| rotated.contains(*name)), "{rotated}");

    let suspended = operator.says("domain suspend shop.domains.example --tenant domains --reason abuse");
    assert!(suspended.contains("suspended"), "{suspended}");
    let line = "message send --from a@shop.domains.example --to anna@gmail.com --subject Hello --text Hi";
    wait_for("mail from it to be refused", || (tenant.run(line).0 != 0).then_some(()));
    let released = operator.json("domain release shop.domains.example --tenant domains");
    assert_ne!(released["state"], "suspended", "{released}");
    tenant.refuses("domain delete shop.domains.example", 64, "--yes");
    assert!(tenant.says("domain delete shop.domains.example --yes").contains("deleted"));
    tenant.refuses("domain show shop.domains.example", 65, "no domain");
}

#[test]
fn a_credential_a_pool_and_a_message_go_their_way() {
    let (_plot, house, operator) = with_a_house();
    let tenant = of_new_tenant(&house, &operator, "ways");
    let first = tenant.json("credential add shop")["password"].as_str().unwrap().to_owned();
    let table = tenant.says("credential list");
    assert!(table.contains("USER") && table.contains("shop") && !table.contains(&first), "{table}");
    let rows = tenant.json("credential list")["data"].as_array().unwrap().len();
    assert_eq!(rows, 2, "the one of the onboarding, and this one");
    let rotated = tenant.says("credential rotate shop");
    assert!(rotated.contains("password") && rotated.contains("not shown again"), "{rotated}");
    assert!(!rotated.contains(&first));
    tenant.refuses("credential rotate nobody", 65, "no credential");

    operator.says("source add spare --address 127.2.0.82 --ehlo spare.posthouse.test");
    operator.says("pool add spares --member spare");
    let shown = operator.json("pool show spares");
    assert_eq!(shown["members"].as_array().unwrap().len(), 1, "{shown}");
    let changed = operator.says("pool set-members spares --member spare=5 --member ways-1");
    assert!(changed.contains("weight=5"), "{changed}");
    assert_eq!(operator.json("pool show spares")["members"].as_array().unwrap().len(), 2);
    assert!(operator.says("pool list").contains("spares"));
    operator.refuses("pool delete ways --yes", 65, "still in use");
    operator.refuses("pool delete spares", 64, "--yes");
    assert!(operator.says("pool delete spares --yes").contains("deleted"));
    operator.refuses("pool show spares", 65, "no pool");
    assert!(operator.says("source delete spare --yes").contains("deleted"));

    let line =
        "message send --from a@ways.example --to late@gmail.com --subject Hello --text Hi --send-at 2h";
    let message = tenant.json(line)["ids"][0].as_str().unwrap().to_owned();
    wait_for("the message is known", || {
        (tenant.run(&format!("message show {message}")).0 == 0).then_some(())
    });
    tenant.refuses(&format!("message cancel {message}"), 64, "--yes");
    let said = tenant.says(&format!("message cancel {message} --yes"));
    assert!(said.contains("recipients cancelled  1"), "{said}");
    wait_for("the end is known", || {
        tenant.says(&format!("message show {message}")).contains("cancelled").then_some(())
    });
    assert_eq!(tenant.json(&format!("message cancel {message} --yes"))["cancelled"], 0);
}
