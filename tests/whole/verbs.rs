//! What happens to a tenant, its domains, credentials and mail by commands alone; and that no command of the binary
//! is left without a test that runs it.

use crate::house::{House, wait_for};
use crate::shell::{Shell, with_a_house};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A shell that has the key of a new tenant.
fn of_new_tenant(house: &House, operator: &Shell, name: &str) -> Shell {
    let (tenant, _) = house.onboard(name, &format!("{name}.example"), "127.2.0.81");
    operator.with(&[("POSTHOUSE_API", house.text("/api")), ("POSTHOUSE_API_KEY", tenant.key)])
}

/// The sources of all tests and benchmarks, each in one line, without comments.
fn spoken() -> Vec<String> {
    fn files(under: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(under).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                files(&entry, found);
            } else if entry.extension().is_some_and(|end| end == "rs") {
                found.push(entry);
            }
        }
    }
    let mut sources = Vec::new();
    files(Path::new(env!("CARGO_MANIFEST_DIR")), &mut sources);
    let code = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).unwrap();
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        lines.collect::<Vec<_>>().join(" ")
    };
    sources.iter().map(code).collect()
}

/// Is the command run in this source: as one line to type, or word by word? One that is refused does not count.
fn runs(source: &str, command: &[String]) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
    let typed = format!("\"{}", command.join(" "));
    let is_typed = source.match_indices(&typed).any(|(at, _)| {
        let (before, after) = (source[..at].trim_end(), &source[at + typed.len()..]);
        if ["refuses(", "refuses(&format!("].iter().any(|refused| before.ends_with(refused)) {
            return false;
        }
        // A word alone may be anything, unless somebody types it.
        let is_said = || ["says(", "json(", "run(", "command("].iter().any(|verb| before.ends_with(verb));
        !after.starts_with(is_word) && (command.len() > 1 || !after.starts_with('"') || is_said())
    });
    let words: Vec<String> = command.iter().map(|word| format!("\"{word}\"")).collect();
    let called = ["[", "(", "arg(", "args(["].map(|open| format!("{open}{}", words.join(", ")));
    let is_called = |call: &String| match command.len() {
        // `.arg("serve")`, `run(&["migrate", …`, `args(["up", …`.
        1 => source.match_indices(call).any(|(at, _)| {
            let before = &source[..at];
            call.starts_with("arg") && before.ends_with('.')
                || call.starts_with('[') && before.ends_with(['&', '('])
        }),
        _ => source.contains(call),
    };
    is_typed || called.iter().any(is_called)
}

/// Every command of the binary that has none below it, as its own help lists them.
pub fn leaves(shell: &Shell, above: &[String]) -> Vec<Vec<String>> {
    let help = shell.says(&format!("{} --help", above.join(" ")));
    let Some(listed) = help.split("Commands:\n").nth(1) else { return vec![above.to_vec()] };
    let listed = listed.lines().take_while(|line| !line.is_empty());
    // What a command does may take a second line, further in.
    let listed = listed.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let names: Vec<&str> = listed.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 1 && names.last() == Some(&"help"), "{above:?}: {names:?}");
    let below = names[..names.len() - 1].iter().map(|name| [above, &[(*name).to_owned()]].concat());
    below.flat_map(|path| leaves(shell, &path)).collect()
}

#[test]
fn no_command_is_without_a_test_that_runs_it() {
    let plot = crate::house::Plot::new();
    let (all, sources) = (leaves(&Shell::new(&plot), &[]), spoken());
    assert!(all.len() > 70, "{all:?}");
    let forgotten: Vec<String> = all
        .iter()
        .filter(|command| !sources.iter().any(|source| runs(source, command)))
        .map(|command| command.join(" "))
        .collect();
    assert!(forgotten.is_empty(), "no test runs {forgotten:?}");
    println!("{} commands, each run by a test", all.len());
}

#[test]
fn a_command_that_is_only_named_is_not_one_that_is_run() {
    let runs = |source: &str, command: &str| {
        runs(source, &command.split(' ').map(str::to_owned).collect::<Vec<_>>())
    };
    assert!(runs("operator.says(\"queue list --limit 5\")", "queue list"));
    assert!(runs("run(&[\"operator\", \"add\", \"--email\"])", "operator add"));
    assert!(runs("command.arg(\"serve\").arg(\"--config\")", "serve"));
    for (source, command) in [
        ("operator.refuses( \"tenant delete x\", 64, \"\")", "tenant delete"),
        ("operator.says(\"queue list-all\")", "queue list"),
        ("says(\"a queue list\")", "queue list"),
        ("(\"serve\", 1)", "serve"),
        ("assert_eq!(name, \"serve\")", "serve"),
    ] {
        assert!(!runs(source, command), "{source}");
    }
    let sources = spoken();
    let invented = ["tenant".to_owned(), "embalm".to_owned()];
    assert!(!sources.iter().any(|source| self::runs(source, &invented)));
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
    operator.says("source hold verbs-1");
    tenant.says(&line.replace("anna@", "queued@"));
    operator.refuses("tenant quarantine verbs", 64, "--reason");
    let stopped = operator.says("tenant quarantine verbs --reason phishing");
    assert!(stopped.contains("quarantined") && stopped.contains("phishing"), "{stopped}");
    assert_eq!(status(), "quarantined");
    wait_for("the quarantine is known", || (tenant.run(line).0 == 77).then_some(()));
    // The tenant is not told what it is suspected of.
    tenant.refuses(line, 77, "under review");
    operator.says("source activate verbs-1");
    let queue = wait_for("what was queued waits for the release", || {
        Some(operator.says("queue list")).filter(|table| table.contains("tenant_held"))
    });
    assert!(
        house.lab("GET", "/arrivals?to=queued@gmail.com", None).as_array().unwrap().is_empty(),
        "{queue}"
    );
    operator.refuses("tenant resume verbs", 65, "release ends that");
    assert_eq!(operator.json("tenant release verbs --reason false-alarm")["status"], "active");
    assert_eq!(status(), "active");
    house.arrivals("queued@gmail.com", 1);
    wait_for("the mail is taken once more", || (tenant.run(line).0 == 0).then_some(()));

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

#[test]
fn a_message_is_found_in_the_journal_by_its_id_and_its_body_only_on_demand() {
    let (_plot, house, operator) = with_a_house();
    let tenant = of_new_tenant(&house, &operator, "journal");
    let line = "message send --from a@journal.example --to anna@gmail.com --subject Hello --text MarkedBody";
    let message = tenant.json(line)["ids"][0].as_str().unwrap().to_owned();
    tenant.says(&line.replace("MarkedBody", "AnotherBody"));
    house.arrivals("anna@gmail.com", 2);
    let data = house.data.display().to_string();
    assert_eq!(house.stop().code(), Some(0));
    let found = operator.says(&format!("spool inspect --data {data} --message {message}"));
    assert!(found.contains(&message) && !found.contains("MarkedBody"), "{found}");
    let found = operator.says(&format!("spool inspect --data {data} --message {message} --body"));
    assert!(found.contains("MarkedBody") && !found.contains("AnotherBody"), "{found}");
    let rows = operator.says(&format!("spool inspect --data {data} --message {message} --json"));
    assert!(rows.lines().all(|row| serde_json::from_str::<Value>(row).is_ok()) && !rows.is_empty(), "{rows}");
    assert!(operator.says(&format!("spool verify --data {data}")).contains("segment"));
    operator.refuses(&format!("spool inspect --data {data} --message msg_x"), 64, "--message");
}
