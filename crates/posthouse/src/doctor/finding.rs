//! What one check found: good, doubtful or wrong, in a sentence, and what to do.

use crate::exit::Failure;
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at; stable, made for programs.
    pub check: &'static str,
    pub state: State,
    pub found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Who stands in the way, for the exit code.
    #[serde(skip)]
    pub trouble: Trouble,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    Warning,
    Error,
}

/// Kinds of errors, as sysexits(3) has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    Configuration,
    Unavailable,
    CannotCreate,
}

impl Finding {
    pub fn ok(check: &'static str, found: impl Into<String>) -> Finding {
        Finding { check, state: State::Ok, found: found.into(), advice: None, trouble: Trouble::None }
    }

    pub fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { state: State::Warning, advice: Some(advice.into()), ..Finding::ok(check, found) }
    }

    pub fn error(
        trouble: Trouble,
        check: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { state: State::Error, trouble, ..Finding::warning(check, found, advice) }
    }
}

/// For people: a line each, and what to do below it.
pub fn table(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, state, found, advice, .. } in findings {
        let state = match state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Error => "ERROR",
        };
        text.push_str(&format!("{state:<8} {check:<19} {found}\n"));
        if let Some(advice) = advice {
            text.push_str(&format!("{:<28} → {advice}\n", ""));
        }
    }
    text
}

/// How the command ends: the first error decides the code.
pub fn verdict(findings: &[Finding]) -> anyhow::Result<()> {
    let errors: Vec<&Finding> = findings.iter().filter(|finding| finding.state == State::Error).collect();
    let Some(first) = errors.first() else { return Ok(()) };
    let text = match errors.len() {
        1 => format!("1 thing stands in the way of a node here: {}", first.check),
        count => format!("{count} things stand in the way of a node here, the first: {}", first.check),
    };
    Err(match first.trouble {
        Trouble::Configuration => Failure::Configuration(text),
        Trouble::CannotCreate => Failure::CannotCreate(text),
        Trouble::Unavailable | Trouble::None => Failure::Unavailable(text),
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_no_failure_and_the_first_error_decides() {
        let good = Finding::ok("clock", "it is now");
        let doubtful = Finding::warning("ipv6", "no address", "nothing, if you mean it");
        let full = Finding::error(Trouble::CannotCreate, "data", "no directory", "make it");
        let away = Finding::error(Trouble::Unavailable, "postgresql", "no answer", "start it");
        assert!(verdict(&[good.clone(), doubtful.clone()]).is_ok());
        let error = verdict(&[good, doubtful, full, away]).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Failure::CannotCreate(_))));
        assert_eq!(error.to_string(), "2 things stand in the way of a node here, the first: data");
    }

    #[test]
    fn advice_stands_below_what_was_found() {
        let text = table(&[Finding::error(Trouble::Configuration, "tls", "it is over", "renew it")]);
        assert_eq!(
            text,
            "ERROR    tls                 it is over\n                             → renew it\n"
        );
    }
}
