//! What a process has used, as Linux tells it.

use std::fs;

use rustix::process::Pid;

/// Ticks of the times in `/proc`: 100 a second, wherever Linux runs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time, user and system, of all its threads; counted in hundredths.
pub fn cpu_seconds(process: Pid) -> f64 {
    let stat = read(process, "stat");
    // The name, in parentheses, may hold anything.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<f64>().expect("ticks"));
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

/// The most memory that it ever had in RAM at one time, in MiB.
pub fn peak_mib(process: Pid) -> f64 {
    let status = read(process, "status");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    peak.and_then(|kib| kib.trim().parse::<f64>().ok())
        .expect("VmHWM")
        / 1024.0
}

fn read(process: Pid, file: &str) -> String {
    let path = format!("/proc/{}/{file}", process.as_raw_nonzero());
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{path}: {error}; this benchmark needs Linux"))
}
