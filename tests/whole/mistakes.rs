//! The likeliest mistakes of a first day: each ends in a sentence that names what is wrong and what to do.
//!
//! A wrong key of the configuration is in `refusals.rs`, a second process in `running.rs`, a host without apt in the tests
//! of xtask.

use crate::house::{Plot, binary, python, wait_for};
use posthouse_tests::client::Door;
use posthouse_tests::volume::Volume;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use testkit::{lacking, skipped};

/// Exit code and words of a command that has to end by itself.
fn ended(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), said)
}

fn up(plot: &Plot) -> Command {
    let mut command = Command::new(binary());
    command.args(["up", "--data"]).arg(plot.path().join("data"));
    command.arg("--config").arg(plot.path().join("posthouse.toml"));
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key_and_a_remedy() {
    let (plot, holder) = (Plot::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let taken = holder.local_addr().unwrap().to_string();
    for (variable, key) in [
        ("POSTHOUSE__LISTEN__HTTP", "listen.http"),
        ("POSTHOUSE__LISTEN__SUBMISSION", "listen.submission"),
        ("POSTHOUSE__LISTEN__INBOUND", "listen.inbound"),
    ] {
        let (code, said) = ended(up(&plot).env(variable, &taken));
        assert!(code == 69 && said.contains(&taken), "{code}: {said}");
        assert!(said.contains(&format!("({key})")) && said.contains("choose another port"), "{said}");
    }
}

#[test]
fn an_address_that_this_host_does_not_have_is_named_with_a_remedy() {
    let plot = Plot::new();
    let (code, said) = ended(up(&plot).env("POSTHOUSE__LISTEN__HTTP", "[2001:db8::25]:0"));
    assert!(
        code == 69 && said.contains("[2001:db8::25]") && said.contains("(listen.http)"),
        "{code}: {said}"
    );
    // A kernel without IPv6 says something else than one that has it without this address.
    let has_ipv6 = std::net::UdpSocket::bind("[::]:0").is_ok();
    let remedy = if has_ipv6 { "name an address of this host" } else { "this host has no IPv6" };
    assert!(said.contains(remedy), "{said}");
}

#[test]
fn a_host_without_postgresql_is_told_how_to_get_it_or_do_without() {
    let plot = Plot::new();
    // A view of the file system in which nobody installed it.
    let hide = "mount -t tmpfs none /usr/lib/postgresql && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", hide, "sh"]).arg(binary()).args(["up", "--data"]);
    command.arg(plot.path().join("data")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    if !is_root() || !std::path::Path::new("/usr/lib/postgresql").exists() {
        skipped("a host without PostgreSQL", "root and Debian's PostgreSQL are needed to hide it");
        return;
    }
    let (code, said) = ended(&mut command);
    if code == 1 && said.contains("unshare") {
        skipped("a host without PostgreSQL", &format!("no mount namespaces here: {said}"));
        return;
    }
    assert!(
        code == 69 && said.contains("apt-get install postgresql") && said.contains("--database"),
        "{code}: {said}"
    );
}

#[test]
fn the_directory_of_another_version_is_left_alone() {
    let plot = Plot::new();
    std::fs::create_dir(plot.path().join("data")).unwrap();
    std::fs::write(plot.path().join("data/layout"), "99").unwrap();
    let (code, said) = ended(&mut up(&plot));
    assert!(code == 69 && said.contains("layout 99") && said.contains("another --data"), "{code}: {said}");
    assert!(!plot.path().join("data/keys").exists());
}

#[test]
fn the_directory_of_another_user_is_named_with_both_users() {
    let plot = Plot::new();
    std::fs::create_dir(plot.path().join("data")).unwrap();
    if !is_root() {
        skipped("the directory of another user", "only root can become another user");
        return;
    }
    let nobody = 65_534;
    let (code, said) = ended(up(&plot).uid(nobody).gid(nobody));
    assert!(
        code == 73 && said.contains("belongs to user 0") && said.contains("chown -R 65534"),
        "{code}: {said}"
    );
}

#[test]
fn a_disk_that_fills_up_at_work_is_told_to_everybody_with_what_to_do() {
    let Some(volume) = Volume::ext4("a disk that fills up", 96, None) else { return };
    let mut plot = Plot::new();
    plot.set("spool.directory", &format!("\"{}\"", volume.path.join("spool").display()));
    plot.set("spool.segment_octets_max", "1048576");
    plot.set("spool.reserve_octets", "33554432");
    let house = plot.start();
    let (tenant, _) = house.onboard("brim", "brim.example", "127.0.8.2");
    let door = Door::of(&house, &tenant);
    let to = ["anna@gmail.com".to_owned()];
    let letter = format!("From: {}\r\nTo: {}\r\nSubject: x\r\n\r\nx\r\n", door.sender, to[0]);
    assert_eq!(door.post(&to, letter.as_bytes()).unwrap().status, 202);
    // Somebody else's files: as large as the reserve leaves nothing.
    let ballast = volume.leave(30 << 20);
    let answer = wait_for("the API to refuse", || {
        let answer = door.post(&to, letter.as_bytes()).unwrap();
        (answer.status != 202).then_some(answer)
    });
    let reply = door.connect().unwrap().submit(&door.sender, &to, letter.as_bytes()).unwrap();
    assert!(answer.status == 507 && answer.retry_after.is_some(), "{answer:?}");
    assert!(answer.body.contains("no room for more mail just now; nothing was taken"), "{answer:?}");
    assert!(
        reply.code == 452 && reply.text.starts_with("4.3.1 ") && reply.text.contains("retry in"),
        "{reply:?}"
    );
    let (status, ready) = house.api("GET", "/ready", "", None);
    let reason = ready["reasons"][0].clone();
    assert_eq!((status, reason["code"].as_str()), (503, Some("disk_full")), "{ready}");
    let detail = reason["detail"].as_str().unwrap();
    assert!(detail.contains("spool.reserve_octets") && detail.contains("make room there"), "{detail}");
    let lines = |what: &str| {
        plot.log().lines().filter(|line| line.contains(what) && line.contains("disk_full")).count()
    };
    wait_for("the log to say so", || (lines("not ready") == 1 && plot.log().contains(detail)).then_some(()));
    std::fs::remove_file(ballast).unwrap();
    wait_for("mail to be taken again", || {
        (door.post(&to, letter.as_bytes()).unwrap().status == 202).then_some(())
    });
    assert_eq!(house.api("GET", "/ready", "", None).0, 200);
    wait_for("the log to say that it is over", || (lines("is over") == 1).then_some(()));
    assert_eq!(house.stop().code(), Some(0));
}

/// The variable that moves the clock of a binary with fail points.
const SHIFT: &str = "POSTHOUSE_CLOCK_SHIFT_MS";

/// What a doctor whose clock is so far off finds in one check.
fn diagnosed(plot: &Plot, (dns, database): (&str, &str), off_ms: &str, check: &str) -> Value {
    let mut doctor = Command::new(binary());
    doctor.args(["doctor", "--json", "--config"]).arg(plot.path().join("posthouse.toml")).env(SHIFT, off_ms);
    doctor.env("POSTHOUSE__DNS__SERVERS", format!("[\"{dns}\"]")).env("POSTHOUSE__DATABASE__URL", database);
    let told: Value = serde_json::from_slice(&doctor.output().unwrap().stdout).unwrap();
    let findings = told["findings"].as_array().unwrap();
    findings.iter().find(|row| row["check"] == check).unwrap_or_else(|| panic!("{check}: {told:#}")).clone()
}

#[test]
fn a_clock_that_is_off_is_told_with_both_times_and_one_never_set_ends_the_start() {
    let plot = Plot::new();
    // Before 1990, whenever this runs within the next decades.
    let long_ago = "-1500000000000";
    // Nobody listens there, and names are not what is asked for.
    if diagnosed(&plot, ("127.0.0.1:1", ""), long_ago, "clock")["state"] != "error" {
        lacking("a clock that is off", "the binary is not built with --features fail-points");
        return;
    }
    let (code, said) = ended(up(&plot).env(SHIFT, long_ago));
    assert!(code == 69 && said.contains("before this program was made"), "{code}: {said}");
    assert!(said.contains("timedatectl set-ntp true"), "{said}");
    assert!(!plot.path().join("data").exists(), "nothing was made of that time");

    let mut command = plot.command();
    command.arg("--lab").env(SHIFT, "3600000");
    let house = plot.spawn(command);
    let log = plot.log();
    let warned = log.lines().find(|line| line.contains("PostgreSQL's")).unwrap_or_else(|| panic!("{log}"));
    assert!(warned.contains("WARN") && warned.contains(" s ahead"), "{warned}");
    for part in ["this host's clock says", "ours=", "theirs=", "ahead_ms=3", "timedatectl", "chrony"] {
        assert!(warned.contains(part), "{part}: {warned}");
    }
    assert_eq!(house.api("GET", "/ready", "", None).0, 200, "a clock that is off ends nothing");
    let (dns, database) = (house.text("/lab/dns"), house.text("/database"));
    let off = diagnosed(&plot, (&dns, &database), "-3600000", "clocks");
    assert!(off["state"] == "warning" && off["advice"].as_str().unwrap().contains("chronyc"), "{off}");
    assert!(off["found"].as_str().unwrap().ends_with(" s behind"), "{off}");
    assert_eq!(diagnosed(&plot, (&dns, &database), "0", "clocks")["state"], "ok");
    assert_eq!(house.stop().code(), Some(0));
}

const REFUSED: &str = "
import smtplib, ssl, sys
address, ca, user, password, sender = sys.argv[1:]
host, port = address.rsplit(':', 1)
smtp = smtplib.SMTP(host, int(port))
smtp.starttls(context=ssl.create_default_context(cafile=ca))
try:
    smtp.login(user, password)
    smtp.sendmail(sender, ['anna@gmail.com'], 'From: ' + sender + '\\r\\nSubject: x\\r\\n\\r\\nx')
    print('accepted')
except smtplib.SMTPResponseException as e:
    print(e.smtp_code, e.smtp_error.decode())
except smtplib.SMTPSenderRefused as e:
    print(e.smtp_code, e.smtp_error.decode())
";

#[test]
fn an_unverified_domain_and_a_wrong_credential_are_told_to_whoever_sends() {
    let plot = Plot::new();
    let house = plot.start();
    let operator = house.operator();
    let new = json!({"name": "Early", "domain": "early.example"});
    let (status, onboarding) = house.api("POST", "/v1/tenants", &operator, Some(&new));
    assert_eq!(status, 201, "{onboarding}");
    let text = |pointer: &str| onboarding.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let (user, password) = (text("/smtp_credential/username"), text("/smtp_credential/password"));
    let (address, ca) = (house.text("/smtp/submission"), house.text("/ca"));
    let said = wait_for("the credential is known at the door", || {
        let said = python(REFUSED, &[&address, &ca, &user, &password, "a@early.example"]);
        (!said.starts_with("535")).then_some(said)
    });
    assert!(said.starts_with("550") && said.contains("5.7.1") && said.contains("early.example"), "{said}");
    assert!(said.contains("verif"), "it says what is missing: {said}");
    let said = python(REFUSED, &[&address, &ca, &user, "wrong", "a@early.example"]);
    assert!(said.starts_with("535") && said.contains("5.7.8"), "{said}");
}
