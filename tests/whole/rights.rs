//! What the help of a command says about whose right it takes is what the API asks for: each example is run by keys with
//! fewer rights and with just enough.

use crate::shell::{Shell, with_a_house};
use crate::verbs::leaves;

/// A command that calls the API, as its own help has it.
struct Page {
    /// The rights that a tenant's key needs; none if only an operator will do.
    rights: Vec<String>,
    /// Lines to type, without the name of the program.
    examples: Vec<String>,
}

const NEEDS: &str = "Needs an operator";

fn page(help: &str) -> Option<Page> {
    let needs = help.lines().find(|line| line.starts_with(NEEDS))?;
    let rights = needs.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let shown = help.split("Examples:\n").nth(1).unwrap().replace("\\\n", " ");
    let lines = shown.lines().filter_map(|line| line.trim().strip_prefix("posthouse "));
    // A tail has no end, and there is no letter.
    let lines = lines.filter(|line| !line.starts_with("event tail") && !line.contains("letter.eml"));
    Some(Page { rights, examples: lines.map(typed).collect() })
}

/// For a shell without quotes, and a key that may not look for its tenant's name.
fn typed(example: &str) -> String {
    let words = example.split('\'').enumerate();
    let words =
        words.map(|(number, text)| if number % 2 == 0 { text.to_owned() } else { text.replace(' ', "-") });
    let line: String = words.collect();
    let line: Vec<&str> =
        line.split_whitespace().map(|word| if word == "Acme" { "self" } else { word }).collect();
    line.join(" ")
}

/// Refused for want of a right, not of the thing or for its state.
fn is_kept_out(shell: &Shell, line: &str) -> bool {
    let (code, said) = shell.run(line);
    let forbidden = said.contains("(forbidden, ");
    assert!(code == 77 || !forbidden, "posthouse {line}: {code} {said}");
    forbidden
}

#[test]
fn a_key_may_do_what_the_help_says_and_nothing_else() {
    let (_plot, house, operator) = with_a_house();
    let (tenant, _) = house.onboard("rights", "news.acme.example", "127.2.0.83");
    let key_with = |scopes: &str| {
        let made = operator.json(&format!("api-key add {scopes}-only --tenant rights --scopes {scopes}"));
        made["secret"].as_str().unwrap().to_owned()
    };
    // Whoever names a thing must be able to look for it.
    let keys = ["read", "send,read", "manage,read", "manage,send,read"];
    let keys = keys.map(|scopes| (scopes, key_with(scopes)));
    let pages: Vec<Page> = leaves(&operator, &[])
        .iter()
        .filter_map(|path| page(&operator.says(&format!("{} --help", path.join(" ")))))
        .collect();
    assert!(pages.len() > 50, "{} commands call the API", pages.len());
    let shell = |key: &str| {
        operator.with(&[("POSTHOUSE_API", house.text("/api")), ("POSTHOUSE_API_KEY", key.to_owned())])
    };
    // What the examples name is there when they begin.
    let whole = shell(&tenant.key);
    whole.says("credential add shop");
    whole.says("api-key add reports --scopes read");
    whole.says("webhook add https://acme.example/events");
    let mut wrong = Vec::new();
    for (scopes, key) in &keys {
        for Page { rights, examples } in &pages {
            let has = |right: &String| scopes.split(',').any(|scope| scope == right);
            let is_enough = !rights.is_empty() && rights.iter().all(has);
            for line in examples {
                if is_kept_out(&shell(key), line) == is_enough {
                    wrong.push(format!(
                        "{line}: the help says {rights:?}, and a key with {scopes} came to another end"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{} commands, {} keys", pages.len(), keys.len());
}
