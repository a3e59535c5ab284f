//! What one command does: a call, how much of a list it wants, and how its answer is shown.

use crate::remote::call::Call;
use crate::remote::view::View;

#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    pub call: Call,
    pub extent: Extent,
    pub view: View,
    /// What the person must have said first, since it cannot be taken back.
    pub consent: Consent,
}

/// How much of the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The one answer.
    Once,
    /// A list: pages until so many rows were read.
    Rows(u32),
    /// Events as they come, until somebody stops it.
    Follow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    NotNeeded,
    Given,
    Missing,
}

impl Action {
    pub fn once(call: Call, view: View) -> Action {
        Action { call, extent: Extent::Once, view, consent: Consent::NotNeeded }
    }

    pub fn list(call: Call, rows: Rows, view: View) -> Action {
        Action { extent: Extent::Rows(rows.limit), ..Action::once(call, view) }
    }

    /// For what cannot be undone.
    pub fn with_consent(self, yes: &Yes) -> Action {
        Action { consent: if yes.yes { Consent::Given } else { Consent::Missing }, ..self }
    }
}

/// How many rows of a list.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Rows {
    /// Rows at most; a note says if there are more
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// "I know that this cannot be undone."
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Yes {
    /// Do it: it cannot be undone
    #[arg(long)]
    pub yes: bool,
}
