//! Who tries to send as somebody else (T1): refused at both doors, and in the audit a moment later, once with its counts.

use crate::house::wait_for;
use posthouse_tests::client::Door;
use posthouse_tests::lab::Lab;

#[test]
fn an_attempt_to_send_as_somebody_else_is_in_the_audit_once_for_each_key() {
    let (lab, mut plot) = Lab::with_plot();
    plot.send_freely();
    let house = plot.start_in(&lab);
    let (one, _) = house.onboard("one", "one.example", "127.2.0.95");
    let (door, operator) = (Door::of(&house, &one), house.operator());
    let to = ["x@gmail.com".to_owned()];
    let raw = b"From: boss@two.example\r\nTo: x@gmail.com\r\nSubject: s\r\n\r\ntext\r\n";
    for _ in 0..3 {
        assert_eq!(door.post(&to, raw).unwrap().status, 403);
    }
    for sender in ["boss@two.example", door.sender.as_str()] {
        let reply = door.connect().unwrap().submit(sender, &to, raw).unwrap();
        assert_eq!(reply.code, 550, "{}", reply.text);
    }
    let entries = wait_for("both keys in the audit", || {
        let (status, audit) = house.api("GET", "/v1/audit?limit=200", &operator, None);
        assert_eq!(status, 200, "{audit}");
        let entries = audit["data"].as_array().unwrap().iter();
        let refused: Vec<_> = entries.filter(|entry| entry["action"] == "message.refuse").cloned().collect();
        (refused.len() >= 2).then_some(refused)
    });
    for entry in &entries {
        println!("{} {}", entry["object"], entry["detail"]);
        assert_eq!(entry["tenant"], one.id.as_str());
        assert!(entry["detail"]["refused"][0]["reason"].as_str().unwrap().contains("two.example"), "{entry}");
    }
    assert_eq!(entries.len(), 2, "{entries:?}");
    // A second try within the ten minutes is written when the house stops.
    assert_eq!(door.post(&to, raw).unwrap().status, 403);
    assert_eq!(house.stop().code(), Some(0));
    let house = plot.start_in(&lab);
    let (_, audit) = house.api("GET", "/v1/audit?limit=200", &house.operator(), None);
    let entries =
        audit["data"].as_array().unwrap().iter().filter(|entry| entry["action"] == "message.refuse");
    let counted: u64 = entries.map(|entry| entry["detail"]["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, 6, "{audit}");
    assert_eq!(house.stop().code(), Some(0));
}
