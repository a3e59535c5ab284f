//! The short screen at the end of `posthouse up`: where everything is, and two lines to paste.

use crate::ready::Ready;
use std::fmt::Write;
use std::net::SocketAddr;

pub fn of(ready: &Ready) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, ready);
    text
}

fn write(text: &mut String, ready: &Ready) -> std::fmt::Result {
    writeln!(text, "\nposthouse {} is up.  Ctrl-C stops it; the next start continues.\n", ready.version)?;
    // A node that `up` starts has every role; a door may be shut by its configuration.
    let api = ready.api.as_deref().unwrap_or_default();
    let door = |address: Option<SocketAddr>| address.map_or("none".to_owned(), |address| address.to_string());
    let (submission, submissions) = (door(ready.smtp.submission), door(ready.smtp.submissions));
    writeln!(text, "  API          {api}   (reference: {api}/docs)")?;
    writeln!(text, "  console      {api}/console/")?;
    if let Some(operator) = &ready.operator {
        writeln!(text, "  operator     {}   {}", operator.email, operator.password)?;
    }
    writeln!(text, "  SMTP         {submission} (STARTTLS), {submissions} (TLS)")?;
    if let Some(ca) = &ready.ca {
        writeln!(text, "  authority    {}", ca.display())?;
    }
    if let Some(lab) = &ready.lab {
        writeln!(text, "  lab          {}   (DNS {})", lab.control, lab.dns)?;
    }
    let Some(demo) = &ready.demo else { return Ok(()) };
    writeln!(text, "  demo tenant  {} user {} password {}", demo.domain, demo.username, demo.password)?;
    writeln!(text, "\nSend one by SMTP, and one by HTTP:\n")?;
    writeln!(
        text,
        "  swaks --server {submission} --tls --auth-user {} --auth-password {} \\\n    --from hello@{} --to anna@gmail.com",
        demo.username, demo.password, demo.domain
    )?;
    writeln!(
        text,
        "\n  curl -s {api}/v1/tenants/self/messages -H 'authorization: Bearer {}' -H 'content-type: application/json' \\\n    \
         -d '{{\"from\":\"hello@{}\",\"to\":[\"unknown@yahoo.com\"],\"subject\":\"Hello\",\"text\":\"It bounces.\"}}'",
        demo.api_key, demo.domain
    )?;
    if let Some(lab) = &ready.lab {
        writeln!(text, "\nWhat arrived:  curl -s '{}/arrivals?to=anna@gmail.com'", lab.control)?;
        writeln!(
            text,
            "What happened: curl -s {api}/v1/tenants/self/events -H 'authorization: Bearer {}'\n",
            demo.api_key
        )?;
    }
    Ok(())
}
