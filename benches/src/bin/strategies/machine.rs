//! What it was measured on.

use std::process::Command;

use crate::result::Machine;

fn file(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line[key.len()..].trim_matches([' ', '\t', ':', '=', '"']).to_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

pub fn look() -> Machine {
    let memory = file("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
    Machine {
        processor: file("/proc/cpuinfo", "model name").unwrap_or_default(),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        memory_gib: memory.map_or(0, |kib: u64| kib.div_ceil(1 << 20)),
        system: format!(
            "{}, Linux {}",
            file("/etc/os-release", "PRETTY_NAME").unwrap_or_default(),
            output("uname", &["-r"])
        ),
        rust: output("rustc", &["--version"]),
    }
}
