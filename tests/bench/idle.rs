//! What a node costs that has nothing to do: memory, CPU and wake-ups over a minute.

use crate::cpu;
use crate::posthouse::Posthouse;
use std::time::Duration;

/// What is done once after a start is done by then.
const SETTLING: Duration = Duration::from_secs(10);
const WATCHED: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "the measurement is of what happens while nothing does")]
fn watch(time: Duration) {
    std::thread::sleep(time);
}

pub fn run(house: &Posthouse) {
    watch(SETTLING);
    let pid = house.pid();
    let (used, slept) = (cpu::of_process(pid), cpu::sleeps(pid));
    watch(WATCHED);
    let share = (cpu::of_process(pid) - used).as_secs_f64() / WATCHED.as_secs_f64() * 100.0;
    let mut woken: Vec<(String, f64)> = Vec::new();
    for (name, count) in cpu::sleeps(pid) {
        let before = slept.get(&name).copied().unwrap_or(0);
        woken.push((name, count.saturating_sub(before) as f64 / WATCHED.as_secs_f64()));
    }
    woken.sort_by(|a, b| b.1.total_cmp(&a.1));
    let all: f64 = woken.iter().map(|(_, rate)| rate).sum();
    println!("| idle: RSS MB | CPU % of a core | wake-ups a second |\n|---|---|---|");
    println!("| {:.0} | {share:.2} | {all:.1} |\n", cpu::resident(pid) / 1e6);
    let busiest: Vec<String> = woken.iter().take(5).map(|(name, rate)| format!("{name} {rate:.1}")).collect();
    println!("most of them: {}\n", busiest.join(", "));
}
