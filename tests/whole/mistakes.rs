//! The likeliest mistakes of a first day: each ends in a sentence that names what is wrong and what to do.
//!
//! A wrong key of the configuration is in `refusals.rs`, a second process in `running.rs`, a full disk in
//! tests/faults/space.rs, a wrong clock in the doctor's own tests (posthouse/src/doctor/host.rs).

use crate::house::{Plot, binary, python, wait_for};
use posthouse_tests::skipped::skipped;
use serde_json::json;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

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
    assert!(said.contains("an address of this host") || said.contains("no IPv6"), "{said}");
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
