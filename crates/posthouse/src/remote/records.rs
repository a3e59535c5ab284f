//! A domain's DNS records as somebody reads them who has to publish them.

use crate::remote::view::{card, cell, column, printable};
use serde_json::Value;
use std::fmt::Write;

/// A domain, its state, and each record with what is to be done about it.
pub fn domain(domain: &Value) -> String {
    let lines = [
        column("domain", "/name"),
        column("id", "/id"),
        column("state", "/state"),
        column("checked", "/checked_at"),
    ];
    format!("{}{}", card(domain, &lines), records(domain))
}

fn records(domain: &Value) -> String {
    domain["records"].as_array().into_iter().flatten().map(record).collect()
}

fn record(record: &Value) -> String {
    let mut text = String::new();
    let required = if record["required"] == true { "required" } else { "recommended" };
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n{:<12} {}, {}\n  {:<5} {}\n  value {}\n",
        cell(record.get("purpose")),
        required,
        cell(record.get("state")),
        cell(record.get("type")),
        cell(record.get("host")),
        cell(record.get("value")),
    );
    for found in record["found"].as_array().into_iter().flatten().filter(|_| record["state"] != "ok") {
        let _ = writeln!(text, "  found {}", cell(Some(found)));
    }
    match record["hint"].as_str() {
        Some(hint) if !hint.is_empty() => format!("{text}  → {}\n", printable(hint)),
        _ => text,
    }
}

/// Everything that onboarding made, and what comes next.
pub fn onboarded(answer: &Value) -> String {
    let lines = [
        column("tenant", "/tenant/id"),
        column("API key", "/api_key/secret"),
        column("SMTP user", "/smtp_credential/username"),
        column("SMTP password", "/smtp_credential/password"),
    ];
    let mut text = card(answer, &lines);
    if answer["webhook"].is_object() {
        text.push_str(&card(answer, &[column("webhook key  ", "/webhook/secret")]));
    }
    let name = cell(answer.pointer("/domain/name"));
    format!(
        "{text}\nThe secrets are not shown again.\n\n{}\nPublish these records, then: posthouse domain verify {name} --tenant {}\n",
        domain(&answer["domain"]),
        cell(answer.pointer("/tenant/id")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_says_what_was_found_and_what_to_do() {
        let wrong = json!({"name": "a.example", "id": "dom_1", "state": "pending", "checked_at": null, "records": [
            {"purpose": "dkim1", "type": "TXT", "host": "k1._domainkey.a.example", "value": "v=DKIM1; p=AAA",
             "required": true, "state": "mismatch", "found": ["v=DKIM1; p=BBB"], "hint": "Replace the old key."}]});
        let text = domain(&wrong);
        for part in
            ["domain   a.example", "required, mismatch", "found v=DKIM1; p=BBB", "→ Replace the old key."]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
