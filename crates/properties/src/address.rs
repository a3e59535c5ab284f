//! Target `address`: mailboxes, domains, paths and the mailbox-list of From.
//!
//! Input: text. Holds: what was parsed and is written down is parsed to the same; a domain has one form; nothing in an
//! address could end a line, a path or a word; a list that is written down is the same list.

use mail::message::mailbox_list;
use mail::{Domain, ForwardPath, Mailbox, ReversePath};

/// Panics if a property of addresses does not hold for these octets.
pub fn check(octets: &[u8]) {
    if let Ok(list) = mailbox_list::parse(octets) {
        written_down(&list);
    }
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if let Ok(domain) = Domain::parse(text) {
        canonical(&domain);
        if let Some(parent) = domain.parent() {
            assert!(
                domain.is_within(&parent) && !parent.is_within(&domain),
                "a domain lies within its parent"
            );
        }
    }
    if let Ok(mailbox) = Mailbox::parse(text) {
        one(&mailbox);
        let path = ForwardPath::parse(text).map(|path| path.to_string());
        assert_eq!(path, Ok(mailbox.to_string()), "a forward-path is its mailbox");
        let path = ReversePath::parse(text).map(|path| path.to_string());
        assert_eq!(path, Ok(mailbox.to_string()), "a reverse-path is its mailbox");
        in_a_command(&mailbox);
    }
}

/// A list of authors, written as a header field has it.
pub fn written_down(list: &[Mailbox]) {
    assert!(!list.is_empty() && list.len() <= mailbox_list::MAILBOXES_MAX, "a list of authors");
    let text: Vec<String> = list.iter().map(|mailbox| format!("<{mailbox}>")).collect();
    assert_eq!(
        mailbox_list::parse(text.join(", ").as_bytes()).as_deref(),
        Ok(list),
        "another list of authors"
    );
    list.iter().for_each(one);
}

fn one(mailbox: &Mailbox) {
    canonical(mailbox.domain());
    let text = mailbox.to_string();
    assert!(!text.chars().any(char::is_control), "a control character in an address");
    assert_eq!(Mailbox::parse(&text).as_ref(), Ok(mailbox), "a mailbox is another one when it is read again");
    let local = mailbox.local_part().as_str();
    let quoted = local.starts_with('"');
    assert!(
        quoted || !local.contains([' ', '<', '>', ',', '"', '@', ':', ';', '\\']),
        "an address has two readings"
    );
}

fn canonical(domain: &Domain) {
    let text = domain.as_str();
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    assert!(text.bytes().all(legal), "a domain that is not in its one form");
    assert_eq!(Domain::parse(text).as_ref(), Ok(domain), "a domain is another one when it is read again");
    assert_eq!(Domain::parse(&format!("{text}.")).as_ref(), Ok(domain), "a dot makes it another domain");
    assert_eq!(
        Domain::parse(&text.to_ascii_uppercase()).as_ref(),
        Ok(domain),
        "case makes it another domain"
    );
}

/// The address in a command is that address and brings nothing with it.
fn in_a_command(mailbox: &Mailbox) {
    use smtp::command::{Command, RcptPath};
    let line = format!("RCPT TO:<{mailbox}>");
    match Command::parse(line.as_bytes()) {
        Ok(Command::Rcpt { forward_path: RcptPath::Mailbox(path), parameters }) => {
            assert_eq!(path.mailbox(), mailbox, "a command names another mailbox");
            assert_eq!(
                parameters,
                smtp::parameter::RcptParameters::default(),
                "a parameter out of an address"
            );
        }
        other => panic!("an address is no argument of RCPT: {:?}", other.err()),
    }
}
