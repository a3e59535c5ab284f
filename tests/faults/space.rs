//! A disk without room (S1), without names (S3), one that says so in the middle of a call (S2), and one that has become
//! read-only under us (S5).

use crate::site::Site;
use posthouse_tests::arrivals::Arrivals;
use posthouse_tests::client::Door;
use posthouse_tests::house::{House, let_pass, now_ms, rounds, wait_for};
use posthouse_tests::ledger::{Cut, Ledger, Told};
use posthouse_tests::load::{Load, Mix, Shape};
use posthouse_tests::strace::{Injection, can_trace};
use posthouse_tests::volume::Volume;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use spool::{Disk, RealDisk};
use std::io::{BufRead, BufReader, IoSlice};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const MIX: Mix = Mix { smtp: 4, http: 2 };
const MEGABYTE: u64 = 1 << 20;

/// A full disk is what both doors say it is, and the API says when to come again.
fn only_full(answers: &[Told]) {
    for told in answers {
        let right = match told.door {
            "http" => told.code == 202 || told.code == 507 && told.retry_after,
            _ => matches!(told.code, 250 | 452),
        };
        assert!(right, "{told:?}");
    }
}

/// A disk that fails, or a connection that broke with the process: whatever was said, the client may come again.
fn only_temporary(answers: &[Told]) {
    for told in answers {
        let right = match told.door {
            "http" => matches!(told.code, 0 | 202) || matches!(told.code, 503 | 507) && told.retry_after,
            _ => matches!(told.code, 0 | 250 | 400..500),
        };
        assert!(right, "{told:?}");
    }
}

fn count(answers: &[Told], door: &str, code: u16) -> usize {
    answers.iter().filter(|told| told.door == door && told.code == code).count()
}

/// Waits until both doors have said no for lack of room.
fn wait_for_refusals(ledger: &Ledger, after: usize) {
    wait_for("both doors to refuse", || {
        let answers = &ledger.answers()[after..];
        (count(answers, "smtp", 452) > 0 && count(answers, "http", 507) > 0).then_some(())
    });
}

/// What exactly the doors say then.
fn says_full(door: &Door) {
    let to = ["full@plain.example".to_owned()];
    let raw = format!("From: {}\r\nTo: {}\r\nSubject: full\r\n\r\nNo room.\r\n", door.sender, to[0]);
    let reply = door.connect().unwrap().submit(&door.sender, &to, raw.as_bytes()).unwrap();
    assert!(reply.code == 452 && reply.text.starts_with("4.3.1 "), "{reply:?}");
    let answer = door.post(&to, raw.as_bytes()).unwrap();
    assert!(answer.status == 507 && answer.body.contains("\"storage_full\""), "{answer:?}");
    assert!(answer.retry_after.is_some_and(|seconds| seconds.parse::<u64>().unwrap() > 0));
}

/// Milliseconds until both doors accept again.
fn until_accepted(ledger: &Ledger) -> u64 {
    let (began, after) = (now_ms(), ledger.answers().len());
    wait_for("both doors to accept again", || {
        let answers = &ledger.answers()[after..];
        (count(answers, "smtp", 250) > 0 && count(answers, "http", 202) > 0).then_some(())
    });
    now_ms() - began
}

fn is_ready(house: &House) -> u16 {
    house.api("GET", "/ready", "", None).0
}

/// A site whose journal is on the volume.
fn site_on(volume: &Volume) -> Site {
    let mut site = Site::new();
    site.plot.set("spool.directory", &format!("\"{}\"", volume.path.join("spool").display()));
    site.plot.set("spool.segment_octets_max", "2097152");
    site.plot.set("spool.reserve_octets", &(32 * MEGABYTE).to_string());
    site
}

#[test]
fn s1_a_full_disk_refuses_before_it_is_full_and_delivers_on() {
    let Some(volume) = Volume::ext4("S1", 160, None) else { return };
    let site = site_on(&volume);
    let house = site.start();
    let (tenant, _) = house.onboard("full", "full.example", "127.2.0.93");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    house.lab("PUT", "/providers/plain", Some(&json!({"outage": true})));
    let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Mixed);
    wait_for("some mail", || (ledger.acknowledged() > 20).then_some(()));
    let ballast = volume.leave(36 * MEGABYTE);
    wait_for_refusals(&ledger, 0);
    says_full(&site.door(&house, &tenant));
    let left = volume.free_octets();
    assert!(left > 24 * MEGABYTE, "only {left} octets were left when it refused");
    wait_for("readiness to say so", || (is_ready(&house) == 503).then_some(()));
    let at_refusal = ledger.acknowledged();
    house.lab("PUT", "/providers/plain", Some(&json!({"outage": false})));
    wait_for("deliveries to go on without room for mail", || {
        arrivals.collect(&site.lab);
        (arrivals.copies.len() > at_refusal.min(20)).then_some(())
    });
    std::fs::remove_file(&ballast).unwrap();
    let again = until_accepted(&ledger);
    // Now everything is taken, the reserve too: somebody else filled the disk.
    let after = ledger.answers().len();
    let ballast = volume.leave(0);
    wait_for_refusals(&ledger, after);
    says_full(&site.door(&house, &tenant));
    std::fs::remove_file(&ballast).unwrap();
    let again_from_nothing = until_accepted(&ledger);
    load.finish();
    only_full(&ledger.answers());
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "S1: 452 4.3.1 and 507 with {} MiB left, accepted {again} ms after there was room, {again_from_nothing} ms after a disk \
         that was full to the last block; {} acknowledged, 0 lost, 0 twice",
        left / MEGABYTE,
        verdict.messages
    );
    assert!(again <= 10_000 && again_from_nothing <= 10_000);
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn s3_a_disk_without_inodes_refuses_and_recovers() {
    let Some(volume) = Volume::ext4("S3", 160, Some(64)) else { return };
    let mut site = site_on(&volume);
    site.plot.set("spool.segment_octets_max", "262144");
    let house = site.start();
    let (tenant, _) = house.onboard("names", "names.example", "127.2.0.94");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Mixed);
    wait_for("some mail", || (ledger.acknowledged() > 20).then_some(()));
    let names = volume.take_all_inodes();
    wait_for_refusals(&ledger, 0);
    std::fs::remove_dir_all(&names).unwrap();
    let again = until_accepted(&ledger);
    load.finish();
    only_full(&ledger.answers());
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "S3: without inodes refused, accepted {again} ms after; {} acknowledged, 0 lost, 0 twice",
        verdict.messages
    );
    assert!(again <= 10_000);
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn s2_no_space_in_the_middle_of_a_call_refuses_that_message_alone() {
    if !can_trace("S2") {
        return;
    }
    let mut site = Site::new();
    site.plot.set("spool.segment_octets_max", "65536");
    let house = site.start();
    let (tenant, _) = house.onboard("nth", "nth.example", "127.2.0.95");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let mut refused = 0;
    let calls: Vec<String> = (1..=rounds(5, 40)).map(|n| format!("pwritev:error=ENOSPC:when={n}")).collect();
    for inject in &calls {
        let before = (ledger.answers().len(), ledger.acknowledged());
        let injection = Injection::attach(house.pid(), &[inject]);
        let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Small);
        wait_for("the write to fail", || (injection.hits() > 0).then_some(()));
        wait_for("mail after the fault", || (ledger.acknowledged() > before.1 + 40).then_some(()));
        load.finish();
        drop(injection);
        let answers = &ledger.answers()[before.0..];
        only_full(answers);
        refused += answers.iter().filter(|told| told.code != 250 && told.code != 202).count();
    }
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "S2: ENOSPC at {} writes: {refused} refusals, all temporary; {} acknowledged, 0 lost, 0 twice",
        calls.len(),
        verdict.messages
    );
    assert!(refused > 0, "every write that failed was of outcomes alone");
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn s2_a_file_that_cannot_be_cut_back_either_ends_the_process_and_loses_nothing() {
    if !can_trace("S2") {
        return;
    }
    let site = Site::new();
    let house = site.start();
    let (tenant, _) = house.onboard("uncut", "uncut.example", "127.2.0.174");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Small);
    wait_for("some mail", || (ledger.acknowledged() > 50).then_some(()));
    let from_ms = now_ms();
    let injection =
        Injection::attach(house.pid(), &["pwritev:error=ENOSPC:when=5", "ftruncate:error=ENOSPC"]);
    assert_eq!(house.ended().code(), Some(69));
    load.finish();
    assert!(injection.hits() >= 2, "{}", injection.hits());
    drop(injection);
    only_temporary(&ledger.answers());
    assert!(site.plot.log().contains("the journal is sealed"), "{}", site.plot.log());
    let cut = Cut { from_ms, to_ms: now_ms() };
    let house = site.start();
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[cut]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "S2: ENOSPC at a write and at the cutting back of its file: exit 69, {} acknowledged, 0 lost, {} twice",
        verdict.messages,
        verdict.extra_copies()
    );
    assert_eq!(house.stop().code(), Some(0));
}

/// A start through a tracer that has no room for one thing: exit code, what was said, and how often it was met. None for
/// a start that went well; the house is stopped then.
fn start_without_room(
    site: &mut Site,
    data: &Path,
    call: &str,
    at: Option<&Path>,
) -> (Option<i32>, String, usize) {
    let lines = site.plot.path().join("lines");
    let (lines, at) = (lines.display().to_string(), at.map(|at| at.display().to_string()));
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:error=ENOSPC"));
    let mut words = vec!["strace", "-f", "-qq", "-o", &lines, "-e", &trace, "-e", &inject];
    words.extend(at.iter().flat_map(|at| ["-P", at]));
    site.plot.start_through(&words);
    let mut child = site.plot.command_on(data).stderr(Stdio::piped()).spawn().unwrap();
    let (mut printed, mut first) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    printed.read_line(&mut first).unwrap();
    let is_up = !first.is_empty();
    if is_up {
        let ready = std::fs::read(site.plot.path().join("ready.json")).unwrap();
        let ready: serde_json::Value = serde_json::from_slice(&ready).unwrap();
        let pid = Pid::from_raw(ready["pid"].as_i64().unwrap() as i32).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    // Whoever prints may find nobody reading, but not in this test.
    drop(printed);
    let hits = std::fs::read_to_string(&lines).unwrap().matches("(INJECTED)").count();
    let code = output.status.code().filter(|_| !is_up);
    site.plot.start_through(&[]);
    (code, String::from_utf8_lossy(&output.stderr).into_owned(), hits)
}

#[test]
fn s2_a_start_without_room_says_for_what_or_does_without_it() {
    if !can_trace("S2") {
        return;
    }
    let mut site = Site::new();
    let house = site.start();
    let (tenant, _) = house.onboard("born", "born.example", "127.2.0.175");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    house.lab("PUT", "/providers/plain", Some(&json!({"outage": true})));
    let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Small);
    wait_for("some mail", || (ledger.acknowledged() > 50).then_some(()));
    let spool = PathBuf::from(house.text("/spool"));
    let from_ms = now_ms();
    house.kill();
    load.finish();
    // Something to be cut off, so that the last segment is written anew and takes the old one's name.
    let mut segments: Vec<_> = std::fs::read_dir(&spool).unwrap().flatten().map(|one| one.path()).collect();
    segments.retain(|path| path.extension().is_some_and(|end| end == "seg"));
    let last = segments.into_iter().max().unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&last).unwrap();
    std::io::Write::write_all(&mut file, &[7; 5_000]).unwrap();

    let (used, fresh) = (site.plot.path().join("data"), site.plot.path().join("fresh"));
    let unfinished = last.with_extension("tmp");
    for (data, call, at, code, said) in [
        (&fresh, "mkdir", None, Some(73), "cannot make the data directory"),
        (&fresh, "ftruncate", None, Some(73), "the disk is full: make room"),
        (&fresh, "rename", None, Some(73), "make room on that disk"),
        (&fresh, "mkdir", Some(fresh.join("spool")), Some(69), "cannot open the journal"),
        (&used, "ftruncate", None, Some(73), "the disk is full: make room"),
        (&used, "pwritev", None, Some(69), "cannot open the journal"),
        // Not written anew, then: it is cut where it is.
        (&used, "rename", Some(unfinished), None, "no space to write the last segment anew"),
    ] {
        if at.is_some() && data == &fresh {
            // It gets further than its keys only with those of the database.
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::create_dir_all(fresh.join("keys")).unwrap();
            std::fs::set_permissions(fresh.join("keys"), private).unwrap();
            std::fs::copy(used.join("keys/master.key"), fresh.join("keys/master.key")).unwrap();
        }
        let (ended, told, hits) = start_without_room(&mut site, data, call, at.as_deref());
        assert!(hits > 0, "{call} {at:?}: no such call\n{told}");
        assert_eq!(ended, code, "{call} {at:?}: {told}");
        assert!(told.contains(said) && !told.contains("panicked"), "{call} {at:?}: {told}");
        let sentences = told.lines().filter(|line| line.starts_with("posthouse: ")).count();
        assert_eq!(sentences, usize::from(code.is_some()), "{call} {at:?}: {told}");
    }
    let house = site.start();
    house.lab("PUT", "/providers/plain", Some(&json!({"outage": false})));
    let cut = Cut { from_ms, to_ms: now_ms() };
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[cut]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "S2: ENOSPC at seven calls of a start: six refused in a line each, one did without; {} acknowledged, 0 lost, {} \
         twice",
        verdict.messages,
        verdict.extra_copies()
    );
    assert_eq!(house.stop().code(), Some(0));
}

/// The same underneath, many times over: what a sync has confirmed is there after the repair. A kernel that gives up its
/// journal in the middle of a sync may answer that sync with success.
#[test]
fn s5_a_sync_that_was_confirmed_while_the_disk_broke_down_was_one() {
    const ROUNDS: u64 = 16;
    let Some(volume) = Volume::ext4("S5", 64, None) else { return };
    let (path, block) = (volume.path.join("synced"), [b'x'; 3_000]);
    let stop = Arc::new(AtomicBool::new(false));
    // The moment is short: it is met when the kernel's own threads have to wait for a processor.
    let busy: Vec<_> = (0..4).map(|_| Arc::clone(&stop)).collect();
    let busy: Vec<_> = busy.into_iter().map(|stop| std::thread::spawn(move || spin(&stop))).collect();
    let mut confirmed = Vec::new();
    for round in 0..ROUNDS {
        let file = RealDisk.create(&path).unwrap();
        file.sync_data().unwrap();
        let writer = std::thread::spawn(move || {
            let mut end = 0;
            while file.write_all_at(&mut [IoSlice::new(&block)], end).and_then(|()| file.sync_data()).is_ok()
            {
                end += block.len() as u64;
            }
            end
        });
        let_pass(Duration::from_millis(100 + round * 7));
        volume.break_down();
        let end = writer.join().unwrap();
        volume.mend();
        let found = std::fs::read(&path).unwrap();
        let whole = found.len() as u64 >= end && found[..end as usize].iter().all(|octet| *octet == b'x');
        confirmed.push((end, found.len(), whole));
    }
    stop.store(true, Ordering::SeqCst);
    busy.into_iter().for_each(|thread| thread.join().unwrap());
    println!("S5: confirmed, found, whole: {confirmed:?}");
    assert!(confirmed.iter().all(|(_, _, whole)| *whole), "{confirmed:?}");
}

fn spin(stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        std::hint::spin_loop();
    }
}

#[test]
fn s5_a_disk_that_becomes_read_only_ends_the_process_and_loses_nothing() {
    let Some(volume) = Volume::ext4("S5", 160, None) else { return };
    let site = site_on(&volume);
    let house = site.start();
    let (tenant, _) = house.onboard("frozen", "frozen.example", "127.2.0.120");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    // Some of it is being delivered at that moment: what became of it cannot be written down any more.
    house.lab("PUT", "/providers/plain", Some(&json!({"delay_ms": 50})));
    let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Small);
    wait_for("some mail", || (ledger.acknowledged() > 50).then_some(()));
    let from_ms = now_ms();
    volume.break_down();
    assert_eq!(house.ended().code(), Some(69));
    let ended_ms = now_ms() - from_ms;
    load.finish();
    only_temporary(&ledger.answers());
    assert!(site.plot.log().contains("the journal is sealed"), "{}", site.plot.log());
    // As long as it is read-only a start is refused, in one line.
    let output = site.plot.command().stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.lines().any(|line| line.starts_with("posthouse: ") && line.contains("journal")), "{said}");
    volume.mend();
    let cut = Cut { from_ms, to_ms: now_ms() };
    let house = site.start();
    house.lab("PUT", "/providers/plain", Some(&json!({"delay_ms": 0})));
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[cut]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "S5: the disk became read-only: exit 69 after {ended_ms} ms, a start refused, then mended: {} acknowledged, 0 \
         lost, {} twice: what was delivered and could not be written down",
        verdict.messages,
        verdict.extra_copies()
    );
    assert_eq!(house.stop().code(), Some(0));
}
