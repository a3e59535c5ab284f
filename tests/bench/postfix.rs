//! Postfix as Debian ships it, on a directory and ports of its own; with OpenDKIM as a milter where mail is signed.
//!
//! Stock settings but for what makes it a relay of this machine: who may send, where everything goes, STARTTLS with a
//! certificate as at our own door. All domains go to the one sink, by one next hop, which is the easier case for it.

use crate::cpu;
use crate::figures::Histogram;
use crate::mailer::{Door, Mailer, Signing};
use crate::stage::{Stage, free_port};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

pub struct Postfix {
    config: PathBuf,
    master: u32,
    plain: u16,
    signed: u16,
    milter: Child,
}

impl Postfix {
    pub fn start(stage: &Stage) -> Postfix {
        let home = stage.directory.path().join("postfix");
        let config = home.join("etc");
        fs::create_dir_all(home.join("spool")).unwrap();
        fs::create_dir_all(home.join("data")).unwrap();
        fs::create_dir_all(&config).unwrap();
        run(Command::new("chown").arg("postfix").arg(home.join("data")));
        for name in [
            "dynamicmaps.cf",
            "postfix-files",
            "post-install",
            "postfix-script",
            "dynamicmaps.cf.d",
            "postfix-files.d",
        ] {
            let from = Path::new("/etc/postfix").join(name);
            if from.exists() {
                run(Command::new("cp").arg("-r").arg(from).arg(&config));
            }
        }
        let (plain, signed, milter_port) = (free_port(), free_port(), free_port());
        make_certificate(&home);
        fs::write(config.join("main.cf"), main_cf(&home, stage.sink_port)).unwrap();
        fs::write(config.join("master.cf"), master_cf(plain, signed, milter_port)).unwrap();
        let milter = start_milter(&home, milter_port);
        run(Command::new("postfix").arg("-c").arg(&config).arg("start"));
        let master = fs::read_to_string(home.join("spool/pid/master.pid")).unwrap().trim().parse().unwrap();
        Postfix { config, master, plain, signed, milter }
    }
}

fn main_cf(home: &Path, sink: u16) -> String {
    let home = home.display();
    format!(
        "compatibility_level = 3.6\nqueue_directory = {home}/spool\ndata_directory = {home}/data\n\
         maillog_file = {home}/spool/maillog\nmaillog_file_prefixes = {home}\n\
         inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = peer.bench.example\nmydestination =\n\
         mynetworks = 127.0.0.0/8\nsmtpd_relay_restrictions = permit_mynetworks, reject\n\
         default_transport = smtp:[127.0.0.1]:{sink}\n\
         transport_maps = inline:{{ .dead.example=smtp:[127.9.9.9]:{sink} }}\n\
         smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {home}/tls.pem\nsmtpd_client_connection_count_limit = 0\n"
    )
}

fn master_cf(plain: u16, signed: u16, milter: u16) -> String {
    format!(
        "127.0.0.1:{plain} inet n - n - - smtpd\n\
         127.0.0.1:{signed} inet n - n - - smtpd\n  -o smtpd_milters=inet:127.0.0.1:{milter}\n\
         cleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\ntlsmgr unix - - n 1000? 1 tlsmgr\n\
         rewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\nflush unix n - n 1000? 0 flush\nproxymap unix - - n - - proxymap\n\
         smtp unix - - n - - smtp\nerror unix - - n - - error\nretry unix - - n - - error\n\
         anvil unix - - n - 1 anvil\nscache unix - - n - 1 scache\npostlog unix-dgram n - n - 1 postlogd\n"
    )
}

fn make_certificate(home: &Path) {
    let (key, chain) = (home.join("key.pem"), home.join("chain.pem"));
    let options =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
    let mut command = Command::new("openssl");
    command
        .args(options)
        .args(["-subj", "/CN=peer.bench.example", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&chain);
    run(command.stderr(std::process::Stdio::null()));
    let both = [fs::read(key).unwrap(), fs::read(chain).unwrap()].concat();
    fs::write(home.join("tls.pem"), both).unwrap();
}

fn start_milter(home: &Path, port: u16) -> Child {
    let key = home.join("dkim.pem");
    run(Command::new("openssl")
        .args(["genrsa", "-out"])
        .arg(&key)
        .arg("2048")
        .stderr(std::process::Stdio::null()));
    run(Command::new("chmod").arg("600").arg(&key));
    let config = home.join("opendkim.conf");
    let text = format!(
        "Socket inet:{port}@127.0.0.1\nDomain bench.example\nSelector s1\nKeyFile {}\nMode s\n\
         Canonicalization relaxed/relaxed\nOversignHeaders From\nInternalHosts 127.0.0.0/8\nSyslog no\nBackground no\nRequireSafeKeys no\n",
        key.display()
    );
    fs::write(&config, text).unwrap();
    Command::new("opendkim").arg("-f").arg("-x").arg(&config).spawn().unwrap()
}

fn run(command: &mut Command) {
    let status = command.status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{command:?}: {status:?}");
}

impl Mailer for Postfix {
    fn name(&self) -> &'static str {
        "Postfix"
    }

    fn door(&self, signing: Signing) -> Door {
        let port = match signing {
            Signing::None => self.plain,
            Signing::Rsa => self.signed,
        };
        Door { address: format!("127.0.0.1:{port}"), credential: None, from: "x@bench.example".to_owned() }
    }

    fn cpu(&self) -> Duration {
        cpu::of_tree(self.master) + cpu::of_tree(self.milter.id())
    }

    fn syncs(&self) -> Option<f64> {
        None
    }

    fn written(&self) -> Option<f64> {
        None
    }

    /// From the entry into the active queue to the connection: the second of its four delays (postconf(5),
    /// delay_logging_resolution_limit).
    fn queued(&self) -> Histogram {
        let log = fs::read_to_string(self.config.with_file_name("spool").join("maillog")).unwrap_or_default();
        let delay = |line: &str| line.split_once("delays=")?.1.split('/').nth(1)?.parse().ok();
        Histogram::of(log.lines().filter_map(delay))
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.config.with_file_name("spool/maillog");
            println!(
                "{}",
                fs::read_to_string(log).unwrap_or_default().lines().take(40).collect::<Vec<_>>().join("\n")
            );
        }
        let _ = Command::new("postfix").arg("-c").arg(&self.config).arg("stop").status();
        let _ = self.milter.kill();
        let _ = self.milter.wait();
    }
}
