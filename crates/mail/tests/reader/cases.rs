//! Headers that different programs read differently, written by us after the forms that published attacks on From take:
//! two fields, two addresses, comments, routes, groups, encoded words, folding, names that are almost From.

pub enum Verdict {
    /// We accept it, and everybody has to read it as we do.
    Read,
    Refused,
}

const READ: [(&str, &str); 26] = [
    ("an address alone", "From: a@client.example\r\n"),
    ("angle brackets alone", "From: <a@client.example>\r\n"),
    ("a name", "From: Anna Example <a@client.example>\r\n"),
    ("a name with dots", "From: John Q. Public <a@client.example>\r\n"),
    ("a quoted name with a comma", "From: \"Example, Anna\" <a@client.example>\r\n"),
    ("a quoted name with quotes", "From: \"Anna \\\"A\\\" Example\" <a@client.example>\r\n"),
    ("an address as a quoted name", "From: \"admin@bank.example\" <a@client.example>\r\n"),
    ("an encoded name", "From: =?utf-8?q?J=C3=B6rg?= <a@client.example>\r\n"),
    ("two encoded words", "From: =?utf-8?q?J=C3=B6rg?= =?utf-8?b?TcO8bGxlcg==?= <a@client.example>\r\n"),
    ("folded before the address", "From: Anna Example\r\n <a@client.example>\r\n"),
    ("folded with a tab", "From: Anna\r\n\tExample\r\n\t<a@client.example>\r\n"),
    ("on a continuation line", "From:\r\n a@client.example\r\n"),
    ("no space after the colon", "From:a@client.example\r\n"),
    ("many spaces", "From:   Anna   <a@client.example>  \r\n"),
    ("upper case", "FROM: a@client.example\r\n"),
    ("mixed case", "fRoM: a@client.example\r\n"),
    ("a comment behind", "From: a@client.example (Anna)\r\n"),
    ("a comment with an address", "From: a@client.example (admin@bank.example)\r\n"),
    ("a comment behind the brackets", "From: Anna <a@client.example> (at work)\r\n"),
    ("a plus", "From: a+b.c@client.example\r\n"),
    ("an odd atom", "From: a!#$%&'*+-/=?^_`{|}~b@client.example\r\n"),
    ("A-labels", "From: a@xn--bcher-kva.example\r\n"),
    ("another field that ends in From", "X-From: admin@bank.example\r\nFrom: a@client.example\r\n"),
    ("one that begins with From", "From-: admin@bank.example\r\nFrom: a@client.example\r\n"),
    ("Resent-From", "Resent-From: admin@bank.example\r\nFrom: a@client.example\r\n"),
    ("From in a folded field", "Subject: x\r\n From: admin@bank.example\r\nFrom: a@client.example\r\n"),
];

const REFUSED: [(&str, &str); 58] = [
    ("two fields", "From: a@client.example\r\nFrom: admin@bank.example\r\n"),
    ("two fields, the same", "From: a@client.example\r\nFrom: a@client.example\r\n"),
    ("two fields, other case", "From: a@client.example\r\nfROM: admin@bank.example\r\n"),
    ("two fields, far apart", "From: a@client.example\r\nTo: b@example.org\r\nFrom: admin@bank.example\r\n"),
    ("a space before the colon", "From : admin@bank.example\r\nFrom: a@client.example\r\n"),
    ("a tab before the colon", "From\t: admin@bank.example\r\nFrom: a@client.example\r\n"),
    ("a space before the name", " From: admin@bank.example\r\nFrom: a@client.example\r\n"),
    ("a tab before the name", "\tFrom: admin@bank.example\r\nFrom: a@client.example\r\n"),
    ("an empty one and another", "From:\r\nFrom: a@client.example\r\n"),
    ("nothing", "From:\r\n"),
    ("only spaces", "From:   \r\n"),
    ("none at all", "To: b@example.org\r\n"),
    ("two addresses", "From: a@client.example, admin@bank.example\r\n"),
    ("two addresses in brackets", "From: <a@client.example>, <admin@bank.example>\r\n"),
    ("two in brackets, no comma", "From: <a@client.example><admin@bank.example>\r\n"),
    ("two in brackets, a space", "From: <a@client.example> <admin@bank.example>\r\n"),
    ("one before the brackets", "From: admin@bank.example <a@client.example>\r\n"),
    ("one behind the brackets", "From: <a@client.example> admin@bank.example\r\n"),
    ("two words", "From: a@client.example admin@bank.example\r\n"),
    ("a semicolon", "From: a@client.example; admin@bank.example\r\n"),
    ("brackets in brackets", "From: <<admin@bank.example>a@client.example>\r\n"),
    ("brackets that do not close", "From: <admin@bank.example\r\n <a@client.example>\r\n"),
    ("an empty pair first", "From: <> <a@client.example>\r\n"),
    ("a comma first", "From: ,a@client.example\r\n"),
    ("a comma last", "From: a@client.example,\r\n"),
    ("a route", "From: <@bank.example:a@client.example>\r\n"),
    ("a long route", "From: <@bank.example,@c.example:a@client.example>\r\n"),
    ("a route with a name", "From: Anna <@bank.example:a@client.example>\r\n"),
    ("a group", "From: Friends: a@client.example;\r\n"),
    ("an empty group", "From: undisclosed:;\r\n"),
    ("a group and another", "From: x: admin@bank.example;, a@client.example\r\n"),
    ("a comment in the local-part", "From: a(x)@client.example\r\n"),
    ("a comment in the domain", "From: a@client(x).example\r\n"),
    ("a comment in the brackets", "From: <a@client.example(x)>\r\n"),
    ("a comment that does not close", "From: a@client.example (x\r\n"),
    ("a comment that closes twice", "From: a@client.example (x))\r\n"),
    ("quotes that do not close", "From: \"Anna <a@client.example>\r\n"),
    ("a backslash outside quotes", "From: Anna\\ <a@client.example>\r\n"),
    ("a space before the at", "From: a @client.example\r\n"),
    ("a space behind the at", "From: a@ client.example\r\n"),
    ("two ats", "From: a@client.example@bank.example\r\n"),
    ("two ats in brackets", "From: <admin@bank.example@client.example>\r\n"),
    ("a dot too many", "From: a..b@client.example\r\n"),
    ("a literal", "From: a@[192.0.2.1]\r\n"),
    ("an encoded address", "From: =?utf-8?q?admin=40bank.example?=\r\n"),
    ("an encoded address in brackets", "From: <=?utf-8?q?admin=40bank.example?=>\r\n"),
    ("a quoted local-part", "From: <\"a b\"@client.example>\r\n"),
    ("a quoted local-part alone", "From: \"a b\"@client.example\r\n"),
    ("an address as a local-part", "From: \"admin@bank.example\"@client.example\r\n"),
    ("a bracket as a local-part", "From: <\"admin@bank.example>\"@client.example>\r\n"),
    ("a NUL", "From: a@client.example\0@bank.example\r\n"),
    ("a bare LF", "From: a@client.example\nFrom: admin@bank.example\r\n"),
    ("a bare CR", "From: a@client.example\rFrom: admin@bank.example\r\n"),
    ("a blank continuation", "From: a@client.example\r\n \r\n, admin@bank.example\r\n"),
    ("a blank continuation before From", "Subject: x\r\n \t \r\nFrom: a@client.example\r\n"),
    ("an envelope line", "From admin@bank.example Mon Nov 23 09:14:09 2026\r\nFrom: a@client.example\r\n"),
    ("a line without a colon", "From a@client.example\r\n"),
    ("two Content-Type", "From: a@client.example\r\nContent-Type: text/plain\r\nContent-Type: text/html\r\n"),
];

/// Name, message and what has to become of it.
pub fn all() -> Vec<(&'static str, Vec<u8>, Verdict)> {
    let message = |header: &str| format!("{header}X-End: 1\r\n\r\nFrom: body@bank.example\r\n").into_bytes();
    let read = READ.iter().map(|(name, header)| (*name, message(header), Verdict::Read));
    let refused = REFUSED.iter().map(|(name, header)| (*name, message(header), Verdict::Refused));
    let mut all: Vec<_> = read.chain(refused).collect();
    for name in
        ["Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "References", "In-Reply-To"]
    {
        let header = format!("From: a@client.example\r\n{name}: x\r\n{}: y\r\n", name.to_uppercase());
        all.push((name, message(&header), Verdict::Refused));
    }
    all
}
