//! What providers say must be what the house's own profiles understand: the lab's words against the shipped tables.

use lab::provider::{PROVIDERS, Spec, Speech, Why};
use mail::classify::Profiles;
use mail::{ClassKind, Domain, EnhancedStatus, Reply};
use std::net::IpAddr;

/// The reply as a client would have read it.
fn reply(spec: &Spec, why: Why) -> Reply {
    let speech = Speech {
        peer: IpAddr::from([127, 30, 0, 1]),
        host: "mx.lab.test",
        recipient: "anna@lab.test",
        serial: 7,
    };
    let lines = spec.voice.refusal(why, &speech);
    let code = lines[0][..3].parse().unwrap();
    let texts: Vec<&str> = lines.iter().map(|line| &line[4..]).collect();
    let (first, rest) = texts[0].split_once(' ').unwrap_or((texts[0], ""));
    match EnhancedStatus::parse(first) {
        Some(status) => {
            let mut all = vec![rest.to_owned()];
            all.extend(
                texts[1..]
                    .iter()
                    .map(|text| text.strip_prefix(first).unwrap_or(text).trim_start().to_owned()),
            );
            Reply { lines: all, ..Reply::new(code, Some(status), "") }
        }
        None => Reply { lines: texts.into_iter().map(str::to_owned).collect(), ..Reply::new(code, None, "") },
    }
}

#[test]
fn the_domains_of_a_provider_get_the_profile_that_the_catalogue_names() {
    let profiles = Profiles::shipped();
    for spec in PROVIDERS {
        for site in spec.sites {
            let hosts: Vec<&str> = site.mx.iter().map(|(_, host)| *host).collect();
            for domain in site.domains {
                let found = profiles.provider_for(&Domain::parse(domain).unwrap(), &hosts);
                assert_eq!(&*found.id, spec.profile, "{domain}");
            }
        }
    }
}

#[test]
fn the_house_understands_what_providers_say() {
    let profiles = Profiles::shipped();
    let mut mistakes = Vec::new();
    for spec in PROVIDERS {
        for (why, fits) in expectations() {
            let reply = reply(spec, why);
            let found = profiles.classify(spec.profile, &reply, "rcpt");
            if !fits(&found.class.to_string(), found.kind) {
                mistakes.push(format!(
                    "{} {why:?}: {} is read as {} {:?}",
                    spec.name,
                    reply.to_line(),
                    found.class,
                    found.kind
                ));
            }
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

type Fits = fn(&str, ClassKind) -> bool;

fn expectations() -> Vec<(Why, Fits)> {
    vec![
        (Why::UnknownUser, |class, kind| class == "recipient.unknown" && kind == ClassKind::Hard),
        (Why::Disabled, |class, kind| {
            matches!(class, "recipient.disabled" | "recipient.unknown") && kind == ClassKind::Hard
        }),
        (Why::Full, |class, kind| class == "recipient.full" && kind == ClassKind::Soft),
        (Why::Greylisted, |class, _| matches!(class, "greylist" | "remote.overload")),
        (Why::TooManyConnections, |_, kind| kind == ClassKind::Throttle),
        (Why::TooFast, |_, kind| kind == ClassKind::Throttle),
        (Why::Blocked, |_, kind| matches!(kind, ClassKind::Block)),
        (Why::Spam, |_, kind| kind == ClassKind::Block),
        (Why::Policy, |_, kind| kind == ClassKind::Block),
        (Why::TooLarge, |class, _| class == "content.size"),
        (Why::TlsRequired, |class, _| class == "tls.required"),
        (Why::NoRelay, |class, _| class == "relay.denied"),
    ]
}
