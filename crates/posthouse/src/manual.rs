//! What the help of a command shows beside its options: lines to paste, whose right it takes, and at the top what exit
//! codes and variables mean.
//!
//! An example stands once, as it would be typed. It is shown by the command that it runs, and the first few of a noun's
//! verbs by the noun. A test takes each through the parser, and no command may be without one. What may surprise: names
//! and addresses are made up (RFC 2606, RFC 5737), so that nobody pastes an order to somebody else's system.

use clap::Command;

/// The top's examples are not those of its first commands.
const BEGIN: &str = "\
Begin with `posthouse up --lab`; its screen says what to paste into a second terminal. The commands from \
`tenant` to `event` call the API of a node: beside an `up` they find it and log in by themselves, elsewhere \
they want --api with `posthouse login` or an API key.

Environment:
  POSTHOUSE_API         where the API is, for --api
  POSTHOUSE_API_KEY     an API key, for --api-key
  POSTHOUSE_TENANT      the tenant, for --tenant
  POSTHOUSE_READY_FILE  ready file of a node on this machine, for --ready-file
  POSTHOUSE_CA          a certificate authority to trust as well, for --ca
  POSTHOUSE_SESSION     where the login is kept, for --session
  POSTHOUSE__SECTION__KEY
                        a key of the configuration, stronger than its file, such
                        as POSTHOUSE__LISTEN__HTTP for listen.http

Exit codes:
  0   done
  64  wrong usage: the message says what is right
  65  refused: what was asked for is wrong, missing or in the way
  69  something needed is not available: node, PostgreSQL, disk, port
  73  a file or directory cannot be made
  77  not allowed: no login, or one that may not do this
  78  wrong configuration: file, line and the right key are named";

/// Of one command, or one verb of a noun, each.
const EXAMPLES: &[&str] = &[
    "up --lab",
    "up --data /var/lib/posthouse --config /etc/posthouse/posthouse.toml",
    "serve --config /etc/posthouse/posthouse.toml",
    "serve --config /etc/posthouse/posthouse.toml --role ingress,egress,events",
    "migrate --config /etc/posthouse/posthouse.toml",
    "operator add --email anna@esp.example --config /etc/posthouse/posthouse.toml",
    "operator password --email anna@esp.example --config /etc/posthouse/posthouse.toml",
    "keys show --data /var/lib/posthouse",
    "keys rotate master --data /var/lib/posthouse --from 2026-12-01T12:00:00Z",
    "keys retire master 1 --data /var/lib/posthouse",
    "check-config /etc/posthouse/posthouse.toml",
    "doctor /etc/posthouse/posthouse.toml",
    "tenant list",
    "tenant show Acme",
    "tenant onboard --name Acme --domain news.acme.example --per-day 100000",
    "tenant rename Acme 'Acme Ltd'",
    "tenant pause Acme --reason 'unpaid since October'",
    "tenant resume Acme",
    "tenant quarantine Acme --reason 'a list that was bought'",
    "tenant release Acme --reason 'list removed'",
    "tenant quota Acme",
    "tenant set-quota Acme --per-day 250000 --weight 2",
    "tenant usage Acme --since 30d",
    "tenant delete Acme --yes",
    "domain list --tenant Acme",
    "domain show news.acme.example --tenant Acme",
    "domain add news.acme.example --tenant Acme",
    "domain verify news.acme.example --tenant Acme",
    "domain keys news.acme.example --tenant Acme",
    "domain rotate-keys news.acme.example --tenant Acme",
    "domain suspend news.acme.example --tenant Acme --reason phishing",
    "domain release news.acme.example --tenant Acme",
    "domain delete news.acme.example --tenant Acme --yes",
    "credential list --tenant Acme",
    "credential show shop --tenant Acme",
    "credential add shop --tenant Acme --domain news.acme.example --expires 90d",
    "credential rotate shop --tenant Acme",
    "credential revoke shop --tenant Acme --yes",
    "api-key list --tenant Acme",
    "api-key show reports --tenant Acme",
    "api-key add reports --tenant Acme --scopes read",
    "api-key rotate reports --tenant Acme",
    "api-key revoke reports --tenant Acme --yes",
    "pool list",
    "pool show shared",
    "pool add shared --member mx1=3 --member mx2",
    "pool set-members shared --member mx1 --member mx2 --member mx3",
    "pool delete shared --yes",
    "source list",
    "source show mx1",
    "source add mx1 --address 192.0.2.25 --ehlo mx1.esp.example",
    "source hold mx1",
    "source drain mx1",
    "source activate mx1",
    "source set-ehlo mx1 mx1.esp.example",
    "source delete mx1 --yes",
    "webhook list --tenant Acme",
    "webhook show https://acme.example/events --tenant Acme",
    "webhook add https://acme.example/events --tenant Acme --types message.bounced",
    "webhook pause https://acme.example/events --tenant Acme",
    "webhook resume https://acme.example/events --tenant Acme",
    "webhook test https://acme.example/events --tenant Acme",
    "webhook deliveries https://acme.example/events --tenant Acme --limit 20",
    "webhook replay https://acme.example/events --tenant Acme --since 2h",
    "webhook rotate-secret https://acme.example/events --tenant Acme",
    "webhook delete https://acme.example/events --tenant Acme --yes",
    "message send --from news@acme.example --to anna@example.com --subject Hello --text Hi",
    "message send --raw letter.eml --stream marketing --send-at 2h",
    "message list --tenant Acme --recipient anna@example.com --since 2h",
    "message show msg_01jd6xkq3tfq9v2w8c5m4n7b1a --tenant Acme",
    "message timeline msg_01jd6xkq3tfq9v2w8c5m4n7b1a --tenant Acme",
    "message why msg_01jd6xkq3tfq9v2w8c5m4n7b1a --tenant Acme",
    "message cancel msg_01jd6xkq3tfq9v2w8c5m4n7b1a --tenant Acme --yes",
    "queue list",
    "queue totals",
    "queue paths",
    "queue hold --source mx1 --site mx1.example.com --reason 'asked us to stop' --until 2h",
    "queue resume --source mx1 --site mx1.example.com",
    "event list --tenant Acme",
    "event tail --tenant Acme --json",
    "login --api https://mail.esp.example --email anna@esp.example",
    "logout --api https://mail.esp.example",
    "completion bash > /etc/bash_completion.d/posthouse",
    "completion zsh > /usr/local/share/zsh/site-functions/_posthouse",
    "completion fish > /etc/fish/completions/posthouse.fish",
    "spool verify --data /var/lib/posthouse",
    "spool inspect --data /var/lib/posthouse --message msg_01jd6xkq3tfq9v2w8c5m4n7b1a",
    "lab run",
    "lab load --to 127.0.0.1:2587 --credentials-file credentials.txt --count 10000 --rate 500",
    "lab sink --count 10000",
];

const OPERATOR: &str = "Needs an operator.";
const MANAGE: &str = "Needs an operator, or an API key of the tenant with the right `manage`.";
const MANAGE_AND_SEND: &str =
    "Needs an operator, or an API key of the tenant with the rights `manage` and `send`.";
const MANAGE_AND_READ: &str =
    "Needs an operator, or an API key of the tenant with the rights `manage` and `read`.";
const SEND: &str = "Needs an operator, or an API key of the tenant with the right `send`.";
const READ: &str = "Needs an operator, or an API key of the tenant with the right `read`.";

/// Who may call the API for a command: the longest name that leads to it decides.
const RIGHTS: &[(&str, &str)] = &[
    ("tenant", OPERATOR),
    ("tenant show", READ),
    ("tenant rename", MANAGE),
    ("tenant quota", READ),
    ("tenant usage", READ),
    ("domain", MANAGE),
    ("domain list", READ),
    ("domain show", READ),
    ("domain keys", READ),
    ("domain suspend", OPERATOR),
    ("domain release", OPERATOR),
    ("credential", MANAGE),
    ("credential add", MANAGE_AND_SEND),
    ("credential rotate", MANAGE_AND_SEND),
    ("credential list", READ),
    ("credential show", READ),
    ("api-key", MANAGE),
    ("api-key list", READ),
    ("api-key show", READ),
    ("pool", OPERATOR),
    ("source", OPERATOR),
    ("webhook", MANAGE),
    ("webhook add", MANAGE_AND_READ),
    ("webhook rotate-secret", MANAGE_AND_READ),
    ("webhook list", READ),
    ("webhook show", READ),
    ("webhook deliveries", READ),
    ("message", READ),
    ("message send", SEND),
    ("message cancel", SEND),
    ("queue", OPERATOR),
    ("event", READ),
];

/// A terminal is at least so wide.
const COLUMNS: usize = 80;

/// How many of its verbs' examples a noun shows.
const OF_A_NOUN: usize = 3;

/// The whole command line with everything that its help shows.
pub fn whole(command: Command) -> Command {
    with_examples(command, &mut Vec::new()).after_help(BEGIN)
}

fn with_examples(command: Command, path: &mut Vec<String>) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(&name, |below| {
            path.push(name.clone());
            let below = with_examples(below, path);
            path.pop();
            below
        })
    });
    let most = if command.has_subcommands() { OF_A_NOUN } else { usize::MAX };
    let lines: Vec<String> = examples(path).take(most).map(pasted).collect();
    let shown = (!lines.is_empty()).then(|| format!("Examples:\n{}", lines.join("\n")));
    // A noun's verbs differ.
    let right = if command.has_subcommands() { None } else { right(path).map(str::to_owned) };
    let parts: Vec<String> = right.into_iter().chain(shown).collect();
    if parts.is_empty() { command } else { command.after_help(parts.join("\n\n")) }
}

/// As it can be pasted from a narrow terminal: clap would break a long line where the shell then ends the command.
fn pasted(example: &str) -> String {
    let mut options = example.split(" --");
    let mut line = format!("  posthouse {}", options.next().unwrap_or_default());
    let mut shown = String::new();
    for option in options {
        if line.len() + " --".len() + option.len() + " \\".len() > COLUMNS {
            shown.push_str(&format!("{line} \\\n"));
            line = format!("      --{option}");
        } else {
            line.push_str(&format!(" --{option}"));
        }
    }
    shown + &line
}

fn right(path: &[String]) -> Option<&'static str> {
    let name = path.join(" ");
    let leads = |(to, _): &&(&str, &str)| {
        name == *to || name.strip_prefix(to).is_some_and(|rest| rest.starts_with(' '))
    };
    RIGHTS.iter().filter(leads).max_by_key(|(to, _)| to.len()).map(|(_, right)| *right)
}

/// Those that run this command or one below it.
fn examples(path: &[String]) -> impl Iterator<Item = &'static str> {
    EXAMPLES.iter().copied().filter(move |example| {
        let mut words = example.split(' ');
        path.iter().all(|name| words.next() == Some(name))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    /// The words that a shell makes of a line, up to where it would write the output.
    fn words(line: &str) -> Vec<String> {
        let line = line.split(" > ").next().unwrap();
        let quoted = line.split('\'').enumerate();
        let words = quoted.flat_map(|(number, text)| match number % 2 {
            0 => text.split_whitespace().map(str::to_owned).collect(),
            _ => vec![text.to_owned()],
        });
        words.collect()
    }

    /// Every command that does something, as the words that lead to it.
    fn leaves(command: &Command, path: &[String]) -> Vec<Vec<String>> {
        let below = command.get_subcommands().flat_map(|below| {
            let path = [path, &[below.get_name().to_owned()]].concat();
            if below.has_subcommands() { leaves(below, &path) } else { vec![path] }
        });
        below.collect()
    }

    #[test]
    fn every_command_has_an_example() {
        let without: Vec<Vec<String>> =
            leaves(&Cli::command(), &[]).into_iter().filter(|path| examples(path).next().is_none()).collect();
        assert!(without.is_empty(), "{without:?}");
        assert!(leaves(&Cli::command(), &[]).len() > 70);
    }

    #[test]
    fn every_example_is_a_right_command_line() {
        for example in EXAMPLES {
            let line = [vec!["posthouse".to_owned()], words(example)].concat();
            let parsed = whole(Cli::command()).try_get_matches_from(line);
            assert!(parsed.is_ok(), "posthouse {example}\n{}", parsed.unwrap_err());
            let shown = pasted(example);
            let is_narrow = shown.lines().all(|line| line.len() <= COLUMNS);
            assert!(is_narrow, "wrapped, it cannot be pasted:\n{shown}");
            let typed = shown.replace("\\\n", " ");
            assert_eq!(words(&typed)[1..], words(example), "{shown}");
        }
        assert_eq!(words("a 'b c' d > e"), ["a", "b c", "d"]);
    }

    #[test]
    fn whoever_may_call_the_api_is_told_for_each_command_that_calls_it() {
        let command = Cli::command();
        for path in leaves(&command, &[]) {
            let calls = command.find_subcommand(&path[0]).unwrap();
            let calls = calls.get_arguments().any(|argument| argument.get_id() == "api") && path.len() > 1;
            assert_eq!(right(&path).is_some(), calls, "{path:?}");
        }
        for (name, _) in RIGHTS {
            let path: Vec<String> = name.split(' ').map(str::to_owned).collect();
            let is_there = |leaf: &Vec<String>| leaf.starts_with(&path);
            assert!(leaves(&command, &[]).iter().any(is_there), "{name} is no command");
        }
        let of = |name: &str| right(&name.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!((of("message send"), of("message why")), (Some(SEND), Some(READ)));
        assert_eq!((of("domain add"), of("queue hold")), (Some(MANAGE), Some(OPERATOR)));
    }

    fn variables(command: &Command) -> Vec<String> {
        let own = command.get_arguments().filter_map(|argument| argument.get_env());
        let own: Vec<String> = own.map(|name| name.to_string_lossy().into_owned()).collect();
        own.into_iter().chain(command.get_subcommands().flat_map(variables)).collect()
    }

    #[test]
    fn the_top_names_every_variable() {
        let named =
            |name: &String| BEGIN.lines().any(|line| line.trim_start().starts_with(&format!("{name} ")));
        assert!(BEGIN.lines().filter(|line| line.starts_with("  ")).all(|line| line.len() <= COLUMNS));
        let variables = variables(&Cli::command());
        let unnamed: Vec<&String> = variables.iter().filter(|name| !named(name)).collect();
        assert!(unnamed.is_empty() && !variables.is_empty(), "{unnamed:?}");
    }

    /// The help of every command, with the words that lead to it.
    fn pages(command: Command, path: &str, width: usize) -> Vec<(String, String)> {
        let path = format!("{path} {}", command.get_name());
        let mut pages: Vec<(String, String)> =
            command.get_subcommands().flat_map(|below| pages(below.clone(), &path, width)).collect();
        pages.push((path, command.term_width(width).render_long_help().to_string()));
        pages
    }

    #[test]
    fn no_page_is_wider_than_the_terminal_or_wrapped_twice() {
        for width in [80, 100] {
            let mut command = whole(Cli::command());
            command.build();
            for (path, page) in pages(command, "", width) {
                // clap leaves the line of the usage whole.
                let mut lines = page.lines().filter(|line| !line.starts_with("Usage: "));
                let wide = lines.find(|line| line.chars().count() > width);
                assert!(wide.is_none(), "{path} at {width}: {wide:?}");
            }
        }
    }

    #[test]
    fn a_noun_shows_some_and_a_verb_its_own() {
        let mut command = whole(Cli::command());
        command.build();
        let noun = command.find_subcommand_mut("tenant").unwrap();
        assert_eq!(noun.render_help().to_string().matches("  posthouse tenant ").count(), OF_A_NOUN);
        let verb = noun.find_subcommand_mut("pause").unwrap().render_help().to_string();
        assert!(verb.contains("\n\nNeeds an operator.\n\nExamples:"), "{verb}");
        assert!(
            verb.contains("Examples:\n  posthouse tenant pause Acme --reason 'unpaid since October'"),
            "{verb}"
        );
        let top = command.render_long_help().to_string();
        assert!(top.contains("Exit codes:\n  0   done\n") && !top.contains("Examples:"), "{top}");
    }
}
