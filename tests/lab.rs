//! The lab as a process of its own: an internet that goes on while the house dies.

use crate::house::{House, Plot, web};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A lab in a process of its own; killed when it is dropped.
pub struct Lab {
    child: Child,
    /// What it printed when it was ready.
    pub ready: Value,
    _output: BufReader<ChildStdout>,
}

impl Lab {
    /// Returns when it is ready.
    pub fn start() -> Lab {
        let mut command = Command::new(crate::house::binary());
        command.args(["lab", "run", "--json", "--control", "127.0.0.1:0", "--dns", "127.0.0.1:0"]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the lab said: {line}"));
        Lab { child, ready, _output: output }
    }

    /// One, and a plot for a house that sends to it and to nobody else.
    pub fn with_plot() -> (Lab, Plot) {
        let (lab, mut plot) = (Lab::start(), Plot::new());
        plot.settle_in(&lab);
        (lab, plot)
    }

    /// A change by its control interface, without the house.
    pub fn control_put(&self, path: &str, body: &Value) {
        let request = web().put(format!("{}{path}", self.control())).body(body.to_string());
        let answer = request.header("content-type", "application/json").send().unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    /// URL of its control interface.
    pub fn control(&self) -> &str {
        self.ready["control"].as_str().unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Plot {
    /// The configuration of a house that sends to that lab and to nobody else.
    pub fn settle_in(&mut self, lab: &Lab) {
        self.set("dns.servers", &format!("[{}]", lab.ready["dns"]));
        self.set("egress.smtp_port", &lab.ready["smtp_port"].to_string());
        self.set("egress.lab_loopback_only", "true");
        self.set("events.webhook_allow_networks", "[\"127.0.0.0/8\"]");
    }

    /// Sites are sent as much as they take: where something else is looked at, no pace of ours is to be in its way.
    pub fn send_freely(&mut self) {
        self.set("egress.limits.messages_per_second", "0");
        self.set("egress.limits.connections_per_minute", "0");
        self.set("egress.limits.messages_per_connection", "1000");
    }

    /// A house that sends to that lab; the plot was settled in it.
    pub fn start_in(&self, lab: &Lab) -> House {
        let mut house = self.start_without_lab();
        house.ready["lab"] = lab.ready.clone();
        house
    }
}
