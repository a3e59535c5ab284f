//! How an answer is shown to people: tables, cards of one thing, and a few views made for one purpose.
//!
//! Pure: an answer in, text out. What others wrote (a subject, a reply, a name) must not steer the terminal, so that
//! control characters are replaced. `--json` does not come here.

use crate::remote::records;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

/// What of several values is shown in one cell.
const SEVERAL_CHARS_MAX: usize = 40;

/// The look of one command's answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum View {
    /// Rows of `data`, or of the array at the pointer.
    Table(&'static [Column]),
    TableAt(&'static str, &'static [Column]),
    /// One thing, a field a line.
    Card(&'static [Column]),
    /// A thing with a secret that is not shown again.
    Secret(&'static [Column]),
    /// A domain with its DNS records.
    Domain,
    /// A tenant that was just onboarded.
    Onboarded,
    /// A line for each event.
    Events,
    /// A sentence; the answer has nothing to tell.
    Done(&'static str),
}

/// One column of a table, or one line of a card.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    pub title: &'static str,
    /// JSON pointer within the row; with a `*` for every item of an array.
    pub pointer: &'static str,
}

pub const fn column(title: &'static str, pointer: &'static str) -> Column {
    Column { title, pointer }
}

/// The text for a whole answer.
pub fn show(view: View, answer: &Value) -> String {
    match view {
        View::Table(columns) => rows(&answer["data"], columns),
        View::TableAt(pointer, columns) => rows(answer.pointer(pointer).unwrap_or(&Value::Null), columns),
        View::Card(columns) => card(answer, columns),
        View::Secret(columns) => format!("{}\nThe secret is not shown again.\n", card(answer, columns)),
        View::Domain => records::domain(answer),
        View::Onboarded => records::onboarded(answer),
        View::Events => answer["data"].as_array().into_iter().flatten().map(event).collect(),
        View::Done(sentence) => format!("{sentence}\n"),
    }
}

fn rows(rows: &Value, columns: &[Column]) -> String {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return "nothing\n".to_owned();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| column.title));
    for row in rows {
        table.add_row(columns.iter().map(|column| content(row, column.pointer)));
    }
    for (index, column) in columns.iter().enumerate() {
        let Some(layout) = table.column_mut(index) else { continue };
        layout.set_padding((0, 2));
        let is_number = |row: &Value| row.pointer(column.pointer).is_some_and(Value::is_number);
        if rows.iter().any(is_number) {
            layout.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

fn content(row: &Value, pointer: &str) -> String {
    let Some((before, after)) = pointer.split_once("/*") else { return cell(row.pointer(pointer)) };
    let items = row.pointer(before).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut said: Vec<String> = Vec::new();
    for item in items {
        let one = cell(item.pointer(after));
        if !said.contains(&one) {
            said.push(one);
        }
    }
    some_of(&said)
}

/// As many as fit, at least one, and how many more there are.
fn some_of(said: &[String]) -> String {
    let Some((first, others)) = said.split_first() else { return "-".to_owned() };
    let (mut text, mut left) = (first.clone(), others.len());
    for one in others {
        if text.chars().count() + one.chars().count() > SEVERAL_CHARS_MAX {
            break;
        }
        text = format!("{text}, {one}");
        left -= 1;
    }
    if left > 0 { format!("{text} +{left}") } else { text }
}

pub fn card(thing: &Value, columns: &[Column]) -> String {
    let width = columns.iter().map(|column| column.title.len()).max().unwrap_or(0);
    let line =
        |column: &Column| format!("{:<width$}  {}\n", column.title, cell(thing.pointer(column.pointer)));
    columns.iter().map(line).collect()
}

/// One value as a person reads it.
pub fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", "),
        Some(Value::Object(fields)) => {
            let said = fields.iter().filter(|(_, value)| !value.is_null());
            let pairs = said.map(|(name, value)| format!("{}={}", printable(name), cell(Some(value))));
            pairs.collect::<Vec<_>>().join(" ")
        }
        Some(other @ (Value::Bool(_) | Value::Number(_))) => other.to_string(),
    }
}

/// Time, type, whom it is about, and what the other side said.
pub fn event(event: &Value) -> String {
    let about = ["/data/recipient", "/data/domain", "/data/name", "/data/url"];
    let words = ["/data/outcome/reply", "/data/reason", "/data/detail"];
    let first = |pointers: &[&str]| {
        pointers.iter().find_map(|pointer| event.pointer(pointer).filter(|value| value.is_string())).cloned()
    };
    let text = format!(
        "{}  {:<20}  {}  {}  {}",
        cell(event.get("timestamp")),
        cell(event.get("type")),
        cell(event.pointer("/data/message")),
        cell(first(&about).as_ref()),
        first(&words).map(|words| cell(Some(&words))).unwrap_or_default(),
    );
    format!("{}\n", text.trim_end())
}

/// Text from outside with everything replaced that a terminal would obey.
pub fn printable(text: &str) -> String {
    let harmless = |letter: char| match letter {
        '\r' | '\n' | '\t' => ' ',
        // Beside the C0 and C1 controls: marks that turn the direction of what follows.
        '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => '\u{FFFD}',
        control if control.is_control() => '\u{FFFD}',
        other => other,
    };
    text.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] =
        &[column("NAME", "/name"), column("A DAY", "/plan/per_day"), column("NETWORKS", "/networks")];

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal() {
        let rows = json!({"data": [{"name": "a\u{1b}[2J\r\nb\u{202E}c", "networks": []}]});
        let text = show(View::Table(COLUMNS), &rows);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202E}'), "{text:?}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn a_table_is_aligned_and_says_when_it_is_empty() {
        let rows = json!({"data": [
            {"name": "acme", "plan": {"per_day": 5}, "networks": ["10.0.0.0/8", "::/0"]},
            {"name": "a-longer-name", "plan": {"per_day": 50_000}, "networks": []},
        ]});
        let expected = "NAME           A DAY  NETWORKS\nacme               5  10.0.0.0/8, ::/0\na-longer-name  50000  -\n";
        assert_eq!(show(View::Table(COLUMNS), &rows), expected);
        assert_eq!(show(View::Table(COLUMNS), &json!({"data": []})), "nothing\n");
    }

    #[test]
    fn of_several_as_many_are_shown_as_fit_and_the_rest_is_counted() {
        const COLUMNS: &[Column] = &[column("TO", "/to/*/address"), column("STATE", "/to/*/state")];
        let to = |address: &str, state: &str| json!({"address": address, "state": state});
        let rows = json!({"data": [
            {"to": [to("anna@example.com", "delivered"), to("bob@example.com", "deferred"),
                to("somebody.else@example.org", "delivered"), to("x@example.org", "delivered")]},
            {"to": [to("anna@example.com", "queued")]},
            {"to": []},
        ]});
        let text = show(View::Table(COLUMNS), &rows);
        let cells: Vec<&str> = text.lines().map(|line| line.trim_end()).collect();
        assert_eq!(cells[1], "anna@example.com, bob@example.com +2  delivered, deferred");
        assert!(cells[2].starts_with("anna@example.com  ") && cells[2].ends_with("queued"), "{text}");
        assert!(cells[3].starts_with("-  "), "{text}");
    }

    #[test]
    fn a_card_shows_what_is_not_set() {
        let text = show(View::Card(COLUMNS), &json!({"name": "acme", "plan": {"per_day": null}}));
        assert_eq!(text, "NAME      acme\nA DAY     -\nNETWORKS  -\n");
    }

    #[test]
    fn an_event_is_one_line() {
        let bounced = json!({"timestamp": "2026-11-23T09:14:09Z", "type": "message.bounced",
            "data": {"message": "msg_1", "recipient": "a@b.example", "outcome": {"reply": "550 5.1.1 no\nsuch user"}}});
        assert_eq!(
            event(&bounced),
            "2026-11-23T09:14:09Z  message.bounced       msg_1  a@b.example  550 5.1.1 no such user\n"
        );
    }
}
