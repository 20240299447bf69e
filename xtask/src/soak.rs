//! Many tiny tests over many processes against each engine: what failed, and what is left when all
//! have ended.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::args::Soak;
use crate::{LEG_LIMIT, Workspace, leg, process};

/// How long a soak of one engine may take.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// At most: SQLite's file, its description, two locks, what SQLite writes beside it.
const FILES_OF_A_SLOT: usize = 6;

/// In memory, where there is some.
fn own_folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }.join("dbtest-soak")
}

/// Whether nothing failed and nothing was left.
pub(crate) fn soak(soak: &Soak) -> Result<bool, String> {
    let workspace = Workspace::read()?;
    let mut build = process::cargo(&workspace.root);
    build.args(["build", "--quiet", "--workspace"]);
    build.args(workspace.members.examples.iter().flat_map(|name| ["--exclude", name]));
    build.args(["--exclude", leg::CLIENTS, "--all-features", "--example", "soak"]);
    process::answer(&mut build, &workspace.logs.join("soak-build.log"), LEG_LIMIT)?;
    let program = workspace.which_server.with_file_name(format!("soak{}", std::env::consts::EXE_SUFFIX));
    let all = ["postgres", "mysql", "sqlite"].map(str::to_owned);
    let engines = if soak.engines.is_empty() { &all[..] } else { &soak.engines[..] };
    let mut well = true;
    for engine in engines {
        well &= soak_engine(&program, engine, soak, &workspace.logs)?;
    }
    Ok(well)
}

/// The processes of the installed servers of an engine that dbtest has started, and their memory in
/// megabytes: on Postgres each connection is one.
fn servers(engine: &str) -> (usize, u64) {
    let part = format!("/servers/run-{engine}/");
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let works = |path: &PathBuf| {
        std::fs::read_link(path.join("cwd")).is_ok_and(|at| at.to_string_lossy().contains(&part))
    };
    // Shared memory counts in each of them as its part.
    let memory = |path: PathBuf| {
        let text = std::fs::read_to_string(path.join("smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0)
    };
    let sizes: Vec<u64> = processes.filter(works).map(memory).collect();
    (sizes.len(), sizes.iter().sum::<u64>() / 1024)
}

/// Containers that dbtest has started, running or not; `None` without Docker.
fn containers() -> Option<usize> {
    let list = ["ps", "--all", "--quiet", "--filter", "label=dbtest.server"];
    let output = Command::new("docker").args(list).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).lines().count())
}

/// The files below a folder, without those that servers keep for themselves, and without the tokens of the
/// connections' budget: one for each that a server allows, made when first so many are wanted.
fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let others = |name: &str| name == "connections" || name.starts_with("run-");
    let count = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() && others(&entry.file_name().to_string_lossy()) => 0,
        Ok(kind) if kind.is_dir() => files(&entry.path()),
        _ => 1,
    };
    entries.map(count).sum()
}

/// What one process said at its end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    failed: u64,
    /// In kilobytes after a tenth of the tests, and at the end.
    memory: [u64; 2],
    files: [u64; 2],
}

/// Reads `failed 0 memory 20000 21000 files 30 31`.
fn parse(text: &str) -> Option<Said> {
    let line = text.lines().rev().find(|line| line.starts_with("failed "))?;
    let mut numbers = line.split(' ').filter_map(|word| word.parse().ok());
    let mut next = || numbers.next();
    Some(Said { failed: next()?, memory: [next()?, next()?], files: [next()?, next()?] })
}

fn soak_engine(program: &Path, engine: &str, soak: &Soak, logs: &Path) -> Result<bool, String> {
    let each = soak.tests.div_ceil(soak.processes);
    // A folder of its own, so that nobody else's files are counted.
    let folder = std::env::var_os("DBTEST_DIR").map_or_else(own_folder, PathBuf::from);
    let failed = |error: std::io::Error| format!("could not start {}: {error}", program.display());
    let start = |number: usize, tests: usize| -> Result<(Child, PathBuf), String> {
        let log = logs.join(format!("soak-{engine}-{number}.log"));
        let out = File::create(&log).map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(["run", engine, &tests.to_string()])
            .env("DBTEST_DOTENV", "0")
            .env("DBTEST_DIR", &folder);
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(failed)?;
        Ok((child, log))
    };
    let look = || {
        let mut command = Command::new(program);
        process::answer(
            command.args(["look", engine]).env("DBTEST_DOTENV", "0").env("DBTEST_DIR", &folder),
            &logs.join("soak-look.log"),
            LEG_LIMIT,
        )
    };
    // One first, so that the server and the template are there, and are not measured.
    let alone = |number| start(number, 8)?.0.wait().map_err(failed);
    alone(0)?;
    let (before, server_before) = (look()?, servers(engine));
    let (files_before, containers_before) = (files(&folder), containers());
    let started = Instant::now();
    let processes: Vec<_> =
        (1..=soak.processes).map(|number| start(number, each)).collect::<Result<_, _>>()?;
    let (mut said, mut broken) = (Vec::new(), Vec::new());
    for (mut child, log) in processes {
        while child.try_wait().map_err(failed)?.is_none() {
            if started.elapsed() > LIMIT {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        match parse(&text) {
            Some(one) if one.failed == 0 => said.push(one),
            _ => broken.push(log),
        }
    }
    let took = started.elapsed();
    // What a process leaves that ends, the clones that it made ahead for one, the next one drops.
    alone(soak.processes + 1)?;
    let (after, server_after) = (look()?, servers(engine));
    let (files_after, containers_after) = (files(&folder), containers());
    let most = |of: fn(&Said) -> u64| said.iter().map(of).max().unwrap_or(0);
    println!(
        "{engine}: {} tests over {} processes in {:.1} s ({:.0} a second); {} processes failed",
        each * soak.processes,
        soak.processes,
        took.as_secs_f64(),
        (each * soak.processes) as f64 / took.as_secs_f64(),
        broken.len()
    );
    println!(
        "  memory of a process, at most: {} MB after a tenth, {} MB at the end; open files {}, then {}",
        most(|said| said.memory[0]) / 1024,
        most(|said| said.memory[1]) / 1024,
        most(|said| said.files[0]),
        most(|said| said.files[1])
    );
    println!("  before: {}", before.trim().replace('\n', "; "));
    println!("  after:  {}", after.trim().replace('\n', "; "));
    if server_before.0 > 0 {
        println!(
            "  installed servers: {} processes with {} MB before, {} with {} MB after",
            server_before.0, server_before.1, server_after.0, server_after.1
        );
    }
    println!("  files of dbtest's own: {files_before} before, {files_after} after");
    if let (Some(before), Some(after)) = (containers_before, containers_after) {
        println!("  containers: {before} before, {after} after");
    }
    for log in &broken {
        println!("  failed: see {}", log.display());
    }
    let held = after.lines().any(|line| line.contains("places") && !line.contains(" held 0 half-made 0 "));
    if held {
        println!("  something is held or half-made");
    }
    // The last process has made at most one for each core ahead.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let ahead = made_ahead(&after) > cores;
    if ahead {
        println!("  clones of those who have ended are still there");
    }
    // As many slots as tests ran at once stay for the next run: one for rollback and truncate, one of schemas.
    let slots = 2 * 2 * soak.processes;
    let grown = files_after > files_before + FILES_OF_A_SLOT * slots || containers_after > containers_before;
    if grown {
        println!("  something was left behind");
    }
    Ok(broken.is_empty() && !held && !ahead && !grown)
}

/// Reads `places 9 held 0 half-made 0 made ahead 2` of each server.
fn made_ahead(text: &str) -> usize {
    let numbers =
        text.lines().filter_map(|line| line.rsplit_once("made ahead ")?.1.trim().parse::<usize>().ok());
    numbers.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_made_ahead_are_counted_over_all_servers() {
        let text = "places 9 held 0 half-made 0 made ahead 2\nno server: none\nplaces 3 held 0 half-made 0 made ahead 1\n";
        assert_eq!(made_ahead(text), 3);
    }

    #[test]
    fn the_last_line_is_what_a_process_said() {
        let said = parse("FAILED it saw nothing\nfailed 1 memory 20 21 files 30 31\n");
        assert_eq!(said, Some(Said { failed: 1, memory: [20, 21], files: [30, 31] }));
        assert_eq!(parse("thread 'main' panicked"), None);
    }
}
