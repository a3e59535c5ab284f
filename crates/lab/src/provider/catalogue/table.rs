//! The table of providers, nothing else.
//!
//! Real ones first, examples below. A new row belongs in README.md too.

use super::{Site, Spec, Temper};
use crate::provider::voice::Voice;

/// The order decides the addresses: append, do not insert. Limits are those published for the real ones, with
/// some room for connections that are just closing.
pub static PROVIDERS: &[Spec] = &[
    real(
        "gmail",
        "google",
        Voice::Gmail,
        10,
        100,
        &[
            site(
                &["gmail.com", "googlemail.com"],
                &[
                    (5, "gmail-smtp-in.l.google.com"),
                    (10, "alt1.gmail-smtp-in.l.google.com"),
                    (20, "alt2.gmail-smtp-in.l.google.com"),
                    (30, "alt3.gmail-smtp-in.l.google.com"),
                    (40, "alt4.gmail-smtp-in.l.google.com"),
                ],
            ),
            site(&["google.com"], &[(10, "smtp.google.com")]),
            site(&["workspace.example"], &[(1, "aspmx.l.google.com"), (5, "alt1.aspmx.l.google.com")]),
        ],
    ),
    real(
        "yahoo",
        "yahoo",
        Voice::Yahoo,
        20,
        20,
        &[
            site(
                &["yahoo.com", "ymail.com", "rocketmail.com", "yahoo.co.uk", "yahoo.fr", "yahoo.de"],
                &[(1, "mta5.am0.yahoodns.net"), (1, "mta6.am0.yahoodns.net"), (1, "mta7.am0.yahoodns.net")],
            ),
            site(&["aol.com", "aim.com", "verizon.net"], &[(10, "mx-aol.mail.gm0.yahoodns.net")]),
        ],
    ),
    real(
        "microsoft",
        "microsoft-consumer",
        Voice::Microsoft,
        10,
        50,
        &[
            site(&["outlook.com"], &[(5, "outlook-com.olc.protection.outlook.com")]),
            site(
                &["hotmail.com", "hotmail.co.uk", "hotmail.fr"],
                &[(2, "hotmail-com.olc.protection.outlook.com")],
            ),
            site(&["live.com"], &[(2, "live-com.olc.protection.outlook.com")]),
            site(&["msn.com"], &[(5, "msn-com.olc.protection.outlook.com")]),
        ],
    ),
    real(
        "microsoft-365",
        "microsoft-365",
        Voice::Exchange,
        10,
        50,
        &[
            site(&["microsoft.com"], &[(10, "microsoft-com.mail.protection.outlook.com")]),
            site(&["contoso.example"], &[(0, "contoso-example.mail.protection.outlook.com")]),
        ],
    ),
    real(
        "apple",
        "apple",
        Voice::Apple,
        20,
        5,
        &[site(
            &["icloud.com", "me.com", "mac.com"],
            &[(10, "mx01.mail.icloud.com"), (10, "mx02.mail.icloud.com")],
        )],
    ),
    real(
        "comcast",
        "comcast",
        Voice::Comcast,
        25,
        1000,
        &[site(&["comcast.net", "xfinity.com"], &[(5, "mx1h1.comcast.net"), (5, "mx2h1.comcast.net")])],
    ),
    real(
        "spectrum",
        "spectrum",
        Voice::Spectrum,
        20,
        100,
        &[site(&["charter.net", "rr.com"], &[(10, "mx0.mail.charter.net")])],
    ),
    real(
        "cox",
        "cox",
        Voice::Cox,
        20,
        100,
        &[site(&["cox.net"], &[(10, "mx.east.cox.net"), (10, "mx.west.cox.net")])],
    ),
    real(
        "att",
        "att",
        Voice::Att,
        20,
        100,
        &[site(
            &["att.net", "sbcglobal.net", "bellsouth.net"],
            &[(5, "al-ip4-mx-vip1.prodigy.net"), (5, "ff-ip4-mx-vip1.prodigy.net")],
        )],
    ),
    real(
        "orange",
        "orange-fr",
        Voice::Orange,
        4,
        100,
        &[site(&["orange.fr", "wanadoo.fr"], &[(10, "smtp-in.orange.fr")])],
    ),
    real(
        "laposte",
        "laposte",
        Voice::Plain,
        10,
        100,
        &[site(&["laposte.net"], &[(10, "smtpz4.laposte.net")])],
    ),
    real(
        "gmx",
        "gmx-webde",
        Voice::Gmx,
        8,
        20,
        &[
            site(
                &["gmx.net", "gmx.de", "gmx.at", "gmx.ch"],
                &[(10, "mx00.emig.gmx.net"), (10, "mx01.emig.gmx.net")],
            ),
            site(&["web.de"], &[(100, "mx-ha02.web.de"), (100, "mx-ha03.web.de")]),
        ],
    ),
    real(
        "mail-com",
        "mail-com",
        Voice::Gmx,
        10,
        100,
        &[site(&["mail.com"], &[(10, "mx00.mail.com"), (10, "mx01.mail.com")])],
    ),
    real(
        "t-online",
        "t-online",
        Voice::TOnline,
        10,
        100,
        &[site(&["t-online.de"], &[(10, "mx00.t-online.de"), (10, "mx01.t-online.de")])],
    ),
    real(
        "mail-ru",
        "mail-ru",
        Voice::MailRu,
        20,
        100,
        &[site(&["mail.ru", "bk.ru", "inbox.ru", "list.ru"], &[(10, "mxs.mail.ru")])],
    ),
    real(
        "yandex",
        "yandex",
        Voice::Yandex,
        20,
        100,
        &[site(&["yandex.ru", "yandex.com", "ya.ru"], &[(10, "mx.yandex.ru")])],
    ),
    real(
        "qq",
        "tencent-qq",
        Voice::Qq,
        8,
        8,
        &[site(&["qq.com", "foxmail.com"], &[(5, "mx3.qq.com"), (10, "mx2.qq.com"), (20, "mx1.qq.com")])],
    ),
    real(
        "netease",
        "netease",
        Voice::Netease,
        8,
        7,
        &[
            site(&["163.com"], &[(10, "163mx01.mxmail.netease.com"), (10, "163mx02.mxmail.netease.com")]),
            site(&["126.com"], &[(10, "126mx01.mxmail.netease.com")]),
        ],
    ),
    real(
        "yahoo-jp",
        "yahoo-jp",
        Voice::YahooJapan,
        4,
        20,
        &[site(&["yahoo.co.jp"], &[(10, "mx1.mail.yahoo.co.jp"), (10, "mx2.mail.yahoo.co.jp")])],
    ),
    real(
        "mimecast",
        "mimecast",
        Voice::Mimecast,
        20,
        100,
        &[site(
            &["mimecast.com"],
            &[(10, "eu-smtp-inbound-1.mimecast.com"), (10, "eu-smtp-inbound-2.mimecast.com")],
        )],
    ),
    real(
        "proofpoint",
        "proofpoint",
        Voice::Plain,
        20,
        100,
        &[site(
            &["proofpoint.com"],
            &[(10, "mx0a-00148501.pphosted.com"), (10, "mx0b-00148501.pphosted.com")],
        )],
    ),
    real(
        "barracuda",
        "barracuda",
        Voice::Plain,
        20,
        15,
        &[site(&["barracuda.com"], &[(10, "d53.ess.barracudanetworks.com")])],
    ),
    real(
        "netvigator",
        "netvigator",
        Voice::Netvigator,
        10,
        10,
        &[site(&["netvigator.com"], &[(10, "mx.netvigator.com")])],
    ),
    real("kpn", "kpn", Voice::Plain, 20, 10, &[site(&["kpnmail.nl"], &[(10, "mx.kpnmail.nl")])]),
    real(
        "proton",
        "other",
        Voice::Plain,
        20,
        100,
        &[site(
            &["proton.me", "protonmail.com"],
            &[(5, "mail.protonmail.ch"), (10, "mailsec.protonmail.ch")],
        )],
    ),
    real(
        "fastmail",
        "other",
        Voice::Plain,
        20,
        100,
        &[site(
            &["fastmail.com"],
            &[(10, "in1-smtp.messagingengine.com"), (20, "in2-smtp.messagingengine.com")],
        )],
    ),
    real(
        "zoho",
        "other",
        Voice::Plain,
        20,
        100,
        &[site(&["zoho.com"], &[(10, "mx.zoho.com"), (20, "mx2.zoho.com")])],
    ),
    real(
        "free",
        "other",
        Voice::Plain,
        20,
        100,
        &[site(&["free.fr"], &[(10, "mx1.free.fr"), (20, "mx2.free.fr")])],
    ),
    real(
        "seznam",
        "other",
        Voice::Plain,
        20,
        100,
        &[site(&["seznam.cz"], &[(10, "mx1.seznam.cz"), (20, "mx2.seznam.cz")])],
    ),
    // Example domains. "plain" also receives for every other two-label domain below .example and .test.
    example(
        "plain",
        Temper::Normal,
        &[
            site(&["plain.example"], &[(10, "mx.plain.example")]),
            site(
                &["example.org", "example.net", "example.com"],
                &[(10, "mx.example.org"), (20, "mx2.example.org")],
            ),
        ],
    ),
    example("slow", Temper::Slow, &[site(&["slow.example"], &[(10, "mx.slow.example")])]),
    example("greylist", Temper::Greylisting, &[site(&["greylist.example"], &[(10, "mx.greylist.example")])]),
    example("no-tls", Temper::TlsOff, &[site(&["no-tls.example"], &[(10, "mx.no-tls.example")])]),
    example(
        "tls-broken",
        Temper::TlsBroken,
        &[site(&["tls-broken.example"], &[(10, "mx.tls-broken.example")])],
    ),
    example(
        "tls-required",
        Temper::TlsRequired,
        &[site(&["tls-required.example"], &[(10, "mx.tls-required.example")])],
    ),
    example("busy", Temper::Busy, &[site(&["busy.example"], &[(10, "mx.busy.example")])]),
    example("drop", Temper::Closed, &[site(&["drop.example"], &[(10, "mx.drop.example")])]),
    example("silent", Temper::Silent, &[site(&["silent.example"], &[(10, "mx.silent.example")])]),
    // The first exchange of two-mx.example does not listen (see DEAD_HOSTS).
    example("two-mx", Temper::Normal, &[site(&["two-mx.example"], &[(20, "mx2.two-mx.example")])]),
    // No MX at all: the address record of the domain itself counts (RFC 5321 §5.1).
    example("implicit-mx", Temper::Normal, &[site(&["implicit-mx.example"], &[(0, "implicit-mx.example")])]),
    // The first exchange is always at its limit, the second is not.
    example("half-busy", Temper::Busy, &[site(&["half-busy.example"], &[(10, "mx1.half-busy.example")])]),
    example(
        "half-busy-backup",
        Temper::Normal,
        &[site(&["half-busy-backup.example"], &[(20, "mx2.half-busy.example")])],
    ),
];

const fn real(
    name: &'static str,
    profile: &'static str,
    voice: Voice,
    connections: u32,
    messages_per_connection: u32,
    sites: &'static [Site],
) -> Spec {
    Spec { name, profile, voice, sites, connections, messages_per_connection, temper: Temper::Normal }
}

const fn example(name: &'static str, temper: Temper, sites: &'static [Site]) -> Spec {
    Spec {
        name,
        profile: "other",
        voice: Voice::Plain,
        sites,
        connections: 0,
        messages_per_connection: 0,
        temper,
    }
}

const fn site(domains: &'static [&'static str], mx: &'static [(u16, &'static str)]) -> Site {
    Site { domains, mx }
}
