//! Target `configuration`: a file as an operator writes it, and variables on top, read as the program reads them.
//!
//! Input: lines `POSTHOUSE__SECTION__KEY=value` at the top are the environment, the rest is the file: TOML, or what
//! somebody takes for it. Holds: what is refused is refused in at most so many sentences, and those about a line name one
//! that the file has; what is taken is the same when it is written down and read again.

use posthouse::config::{Config, Mistakes};

/// The name of the file, as mistakes begin.
const NAME: &str = "posthouse.toml";
/// Mistakes of the text; what cannot work although it can be read comes to them, one for each rule.
const MISTAKES_MAX: usize = 100;

/// Panics if a property of configuration files does not hold for these octets.
pub fn check(octets: &[u8]) {
    let Ok(input) = std::str::from_utf8(octets) else { return };
    let (variables, text) = parts(input);
    match Config::read(NAME, text, variables) {
        Ok(config) => is_read_back(&config),
        Err(mistakes) => are_told(&mistakes, text),
    }
}

/// The lines at the top that set a variable, and the file.
fn parts(input: &str) -> (Vec<(String, String)>, &str) {
    let (mut variables, mut rest) = (Vec::new(), input);
    while let Some((line, below)) = rest.split_once('\n')
        && line.starts_with("POSTHOUSE__")
        && let Some((name, value)) = line.split_once('=')
    {
        variables.push((name.to_owned(), value.to_owned()));
        rest = below;
    }
    (variables, rest)
}

fn is_read_back(config: &Config) {
    let Ok(written) = toml::to_string_pretty(config) else {
        panic!("a configuration cannot be written down")
    };
    match Config::read(NAME, &written, Vec::new()) {
        Ok(again) => assert_eq!(&again, config, "a configuration is another one when it is read again"),
        Err(Mistakes(all)) => panic!("a configuration that was written down is refused: {all:?}"),
    }
}

fn are_told(Mistakes(all): &Mistakes, text: &str) {
    assert!(!all.is_empty() && all.len() <= MISTAKES_MAX, "{} mistakes are told", all.len());
    let lines = text.lines().count();
    for mistake in all {
        assert!(!mistake.contains(['\n', '\r']), "a mistake has more than one line: {mistake:?}");
        let Some(rest) = mistake.strip_prefix(NAME) else { continue };
        let place = rest.strip_prefix(':').and_then(|rest| rest.split(':').next());
        let line = place.and_then(|place| place.parse::<usize>().ok());
        assert!(
            line.is_none_or(|line| (1..=lines.max(1)).contains(&line)),
            "{mistake:?}: the text has {lines} lines"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_at_the_top_only() {
        let (variables, text) = parts("POSTHOUSE__A__B=1=2\nPOSTHOUSE__C\n[a]\nPOSTHOUSE__D=1\n");
        assert_eq!(variables, [("POSTHOUSE__A__B".to_owned(), "1=2".to_owned())]);
        assert_eq!(text, "POSTHOUSE__C\n[a]\nPOSTHOUSE__D=1\n");
    }

    #[test]
    fn a_line_that_the_text_has_not_and_a_sentence_of_two_lines_do_not_hold() {
        let holds = |mistake: &str| {
            let mistakes = Mistakes(vec![format!("{NAME}{mistake}")]);
            std::panic::catch_unwind(|| are_told(&mistakes, "a\nb\n")).is_ok()
        };
        assert!(holds(":2: x") && holds(": x") && holds(":1: x"));
        assert!(!holds(":3: x") && !holds(":0: x") && !holds(": x\ny"));
    }
}
