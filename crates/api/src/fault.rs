//! From a fault of the database to what the client reads.
//!
//! Some kinds are the client's business: what it named does not exist, clashes with what does, or is not its to change.
//! The rest is our trouble: logged here, once, and answered without its cause. Trouble that passes by itself is 503 with
//! a time to come back; what would fail again is 500, so that no client tries for ever.

use crate::page::not_its_cursor;
use crate::problem::{FieldError, Kind, Problem};
use database::Fault;

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        match fault {
            Fault::NotFound(what) => Problem::not_found(what),
            Fault::Conflict { field } => {
                let detail = format!("{field} is taken");
                let error = FieldError::new(format!("/{field}"), "taken", detail.clone());
                Problem::new(Kind::Conflict, detail).with_errors(vec![error])
            }
            Fault::Missing { field } => missing(&format!("/{field}")),
            Fault::MissingEntry { field, index, part } => missing(&format!("/{field}/{index}/{part}")),
            Fault::Changed { what } => {
                let detail =
                    format!("the {what} was changed by somebody else since it was read; read it again");
                Problem::new(Kind::PreconditionFailed, detail)
            }
            Fault::TakenOver => Problem::call_running(),
            Fault::Last { what } => {
                Problem::new(Kind::StateConflict, format!("the {what} has to stay; make another one first"))
            }
            Fault::InUse { what } => Problem::new(Kind::StateConflict, format!("the {what} is still in use")),
            // It came in the query.
            Fault::Invalid { field: "cursor", .. } => not_its_cursor(),
            Fault::Invalid { field, reason } => {
                Problem::invalid_field(&format!("/{field}"), "invalid", reason)
            }
            Fault::Forbidden => Problem::new(Kind::Forbidden, "this credential may not do that"),
            Fault::Unavailable { .. } => {
                tracing::error!(fault = &fault as &dyn std::error::Error, "the database did not answer");
                Problem::unavailable()
            }
            Fault::Privilege { .. }
            | Fault::NotMigrated { .. }
            | Fault::Migration(_)
            | Fault::Corrupt { .. }
            | Fault::Sealing { .. }
            | Fault::Config(_)
            | Fault::Pooler
            | Fault::Statement { .. } => {
                tracing::error!(fault = &fault as &dyn std::error::Error, "a request failed in the database");
                Problem::internal()
            }
        }
    }
}

/// Of a call whose body names a tenant: what is not there is named by its field, and is no 404 of the path.
pub fn of_named_tenant(fault: Fault) -> Problem {
    match fault {
        Fault::NotFound("tenant") => missing("/tenant"),
        other => Problem::from(other),
    }
}

fn missing(pointer: &str) -> Problem {
    Problem::invalid_field(pointer, "unknown_reference", "this names something that does not exist")
}
