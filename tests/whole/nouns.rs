//! Webhooks, API keys, queues, paths and sources by commands alone: each verb once, as a table and as JSON, and what it did
//! seen from outside.

use crate::house::{House, wait_for};
use crate::shell::{Shell, with_a_house};
use serde_json::Value;

/// A tenant with its own source, and a shell that has its key.
fn with_a_tenant(house: &House, operator: &Shell, name: &str) -> Shell {
    let (tenant, _) = house.onboard(name, &format!("{name}.example"), "127.2.0.79");
    operator.with(&[("POSTHOUSE_API", house.text("/api")), ("POSTHOUSE_API_KEY", tenant.key)])
}

/// The cells of a table's line that begins with this word, and that the heading is there.
fn row<'a>(table: &'a str, heading: &[&str], word: &str) -> Vec<&'a str> {
    let mut lines = table.lines();
    let first = lines.next().unwrap_or_default();
    assert!(heading.iter().all(|column| first.contains(column)), "{heading:?} in\n{table}");
    let line = lines.find(|line| line.contains(word)).unwrap_or_else(|| panic!("{word} in\n{table}"));
    line.split_whitespace().collect()
}

/// The calls that a sink of the lab has recorded, by type of event.
fn calls(house: &House, sink: &str) -> Vec<String> {
    let seen = house.fetch(sink);
    let bodies = seen["calls"].as_array().unwrap().iter().filter_map(|call| call["body"].as_str());
    bodies
        .map(|body| serde_json::from_str::<Value>(body).unwrap()["type"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_tenant_keeps_its_webhooks() {
    let (_plot, house, operator) = with_a_house();
    let tenant = with_a_tenant(&house, &operator, "hooked");
    let sink = house.lab("POST", "/webhook-sink", None)["url"].as_str().unwrap().to_owned();
    let added = tenant.says(&format!("webhook add {sink} --types message.delivered,webhook.test"));
    assert!(added.contains("whsec_") && added.contains("not shown again"), "{added}");
    tenant.refuses("webhook add ftp://x.example/", 65, "url");

    let table = tenant.says("webhook list");
    let cells = row(&table, &["ID", "URL", "STATE", "TYPES"], &sink);
    assert!(cells[0].starts_with("whk_") && cells.contains(&"active"), "{table}");
    let id = cells[0].to_owned();
    assert!(tenant.json("webhook list").to_string().contains(&id));
    let shown = tenant.json(&format!("webhook show {id}"));
    assert_eq!((shown["url"].as_str(), shown["secret"].as_str()), (Some(&*sink), None), "{shown}");
    assert!(tenant.says(&format!("webhook show {sink}")).contains("message.delivered"));
    tenant.refuses("webhook show https://nowhere.example/", 65, "no webhook");

    assert!(tenant.says(&format!("webhook test {id}")).contains("test event"));
    wait_for("the test event", || calls(&house, &sink).contains(&"webhook.test".to_owned()).then_some(()));
    let deliveries = wait_for("the call is told", || {
        let table = tenant.says(&format!("webhook deliveries {id}"));
        table.contains("200").then_some(table)
    });
    let cells = row(&deliveries, &["EVENT", "TRIES", "STATUS", "ERROR"], "webhook.test");
    assert!(cells.contains(&"200") && cells.contains(&"1"), "{deliveries}");
    let told = tenant.json(&format!("webhook deliveries {id} --limit 1"));
    assert!(told.to_string().contains("webhook.test"), "{told}");

    let said = tenant.says(&format!("webhook replay {id} --since 1h"));
    assert!(said.contains("calls to be made again"), "{said}");
    wait_for("the same event again", || {
        (calls(&house, &sink).iter().filter(|kind| *kind == "webhook.test").count() >= 2).then_some(())
    });
    let rotated = tenant.json(&format!("webhook rotate-secret {id}"));
    assert!(rotated["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{rotated}");
    assert!(!added.contains(rotated["secret"].as_str().unwrap()));

    assert!(tenant.says(&format!("webhook pause {id}")).contains("paused"));
    assert!(row(&tenant.says("webhook list"), &["STATE"], &sink).contains(&"paused"));
    assert!(tenant.says(&format!("webhook resume {id}")).contains("active"));
    tenant.refuses(&format!("webhook delete {id}"), 64, "--yes");
    assert!(tenant.says(&format!("webhook delete {id} --yes")).contains("deleted"));
    assert!(!tenant.says("webhook list").contains(&sink));
    operator.refuses(&format!("webhook show {id} --tenant hooked"), 65, "no such webhook");
}

#[test]
fn a_tenant_keeps_its_api_keys() {
    let (_plot, house, operator) = with_a_house();
    let tenant = with_a_tenant(&house, &operator, "keyed");
    let line = "api-key add reports --scopes read --network 127.0.0.0/8 --expires 90d";
    let added = tenant.json(line);
    let secret = added["secret"].as_str().unwrap().to_owned();
    let reader = |key: &str| {
        operator.with(&[("POSTHOUSE_API", house.text("/api")), ("POSTHOUSE_API_KEY", key.to_owned())])
    };
    reader(&secret).says("event list");
    reader(&secret).refuses(
        "message send --from a@keyed.example --to anna@gmail.com --subject Hello --text Hi",
        77,
        "the right \"send\"",
    );
    tenant.refuses("api-key add nothing", 64, "--scopes");
    tenant.refuses("api-key add everything --scopes all", 64, "manage");

    let table = tenant.says("api-key list");
    let cells = row(&table, &["ID", "NAME", "SCOPES", "EXPIRES", "REVOKED"], "reports");
    assert!(cells.contains(&"read"), "{table}");
    assert!(!table.contains(&secret));
    let card = tenant.says("api-key show reports");
    assert!(card.contains("127.0.0.0/8") && !card.contains(&secret), "{card}");
    assert_eq!(tenant.json("api-key show reports")["name"], "reports");

    let said = tenant.says("api-key rotate reports");
    assert!(said.contains("secret") && said.contains("not shown again") && !said.contains(&secret), "{said}");
    wait_for("the old secret to end", || (reader(&secret).run("event list").0 == 77).then_some(()));
    tenant.refuses("api-key revoke reports", 64, "--yes");
    assert!(tenant.says("api-key revoke reports --yes").contains("revoked"));
    assert!(!tenant.json("api-key show reports")["revoked_at"].is_null());
    tenant.refuses("api-key show nobody", 65, "no API key");
}

#[test]
fn an_operator_holds_paths_and_sources_and_lets_them_go() {
    let (_plot, house, operator) = with_a_house();
    let tenant = with_a_tenant(&house, &operator, "held");
    let send = |to: &str| {
        tenant.says(&format!("message send --from a@held.example --to {to} --subject Hello --text Hi"));
    };
    send("first@plain.example");
    house.arrivals("first@plain.example", 1);
    let paths = operator.says("queue paths");
    let cells = row(&paths, &["SOURCE", "OPEN", "ALLOWED", "HELD", "SITE"], "held-1");
    let site = cells[cells.len() - 1].to_owned();
    assert!(operator.json("queue paths").to_string().contains(&site));

    let path = format!("--source held-1 --site {site}");
    operator.refuses(&format!("queue hold {path}"), 64, "--reason");
    operator.refuses("queue hold --source nobody --site x.example --reason x", 65, "");
    let said = operator.says("queue hold --source held-1 --site plain.example --reason early");
    assert!(said.contains("no mail has gone to a site of the name plain.example"), "{said}");
    operator.says("queue resume --source held-1 --site plain.example");
    assert!(operator.says(&format!("queue hold {path} --reason complaint --until 2h")).contains("held"));
    assert!(row(&operator.says("queue paths"), &["HELD UNTIL"], "held-1").contains(&"complaint"));
    send("second@plain.example");
    let queue = wait_for("the mail waits for the hold", || {
        let table = operator.says("queue list");
        table.contains("held").then_some(table)
    });
    let cells = row(&queue, &["TENANT", "POOL", "SITE", "DUE", "WAITS FOR"], &site);
    assert!(cells.contains(&"held") && cells.contains(&"1"), "{queue}");
    assert!(operator.json("queue list --limit 5").to_string().contains(&site));
    let totals = operator.says("queue totals");
    assert!(totals.contains("due") && totals.contains('1'), "{totals}");
    assert!(house.lab("GET", "/arrivals?to=second@plain.example", None).as_array().unwrap().is_empty());
    assert!(operator.says(&format!("queue resume {path}")).contains("resumed"));
    house.arrivals("second@plain.example", 1);

    let table = operator.says("source list");
    assert!(row(&table, &["NAME", "ADDRESS", "EHLO", "STATE"], "held-1").contains(&"active"), "{table}");
    for (verb, state) in [("source drain", "draining"), ("source hold", "held")] {
        let card = operator.says(&format!("{verb} held-1"));
        let verb = verb.replace("source ", "");
        assert!(card.contains(state), "{card}");
        assert_eq!(operator.json("source show 127.2.0.79")["state"], state);
        send(&format!("{verb}@plain.example"));
        wait_for("the mail waits for an address", || {
            operator.says("queue list").contains(&site).then_some(())
        });
        let here = house.lab("GET", &format!("/arrivals?to={verb}@plain.example"), None);
        assert!(here.as_array().unwrap().is_empty(), "{here}");
    }
    assert!(operator.says("source activate held-1").contains("active"));
    house.arrivals("drain@plain.example", 1);
    house.arrivals("hold@plain.example", 1);
    assert!(operator.says("source set-ehlo held-1 other.posthouse.test").contains("other.posthouse.test"));
    operator.refuses("source delete held-1", 64, "--yes");
    operator.refuses("source delete held-1 --yes", 65, "still in use");
    operator.refuses("source show nobody", 65, "no source");
    operator.refuses("event list", 65, "--tenant NAME");
}
