//! What this machine has, and getting what it lacks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::args::Options;
use crate::counts::Runner;
use crate::leg::{Available, Engine, Found, Leg, Server, to_install};
use crate::process;

const SOON: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(25 * 60);

/// Looks for what the legs need, installs what may be installed, and says what it does.
pub(crate) fn prepare(root: &Path, logs: &Path, legs: &[Leg], options: &Options) -> Available {
    let mut available = Available::default();
    if legs.iter().any(|leg| leg.runner() == Runner::Nextest) {
        available.nextest = Some(nextest(root, logs, options.no_install));
    }
    let mut engine_runs = None;
    for on in legs.iter().filter_map(Leg::on) {
        match on.server {
            Server::Container(image) if !available.containers.contains_key(image) => {
                let runs = engine_runs.get_or_insert_with(|| docker(root, logs)).clone();
                available.containers.insert(image, runs.and_then(|()| self::image(root, logs, image)));
            }
            Server::Installed if !available.installed.contains_key(&on.engine) => {
                available.installed.insert(on.engine, installed(on.engine));
            }
            _ => {}
        }
    }
    let wanted = to_install(legs, &available, options);
    if !wanted.is_empty() {
        let result = apt(root, logs, &wanted);
        for engine in wanted {
            let found = result.clone().and_then(|()| installed(engine));
            let found = found.map_err(|why| match installed(engine) {
                Err(missing) if missing != why => format!("{missing}, and {why}"),
                _ => why,
            });
            available.installed.insert(engine, found);
        }
    }
    available
}

fn nextest(root: &Path, logs: &Path, no_install: bool) -> Found {
    let version = || {
        process::answer(process::cargo(root).args(["nextest", "--version"]), &logs.join("nextest.log"), SOON)
    };
    if version().is_ok() {
        return Ok(());
    }
    const NEXT: &str = "`cargo install cargo-nextest --locked` installs it";
    if no_install {
        return Err(format!("cargo-nextest is not installed and --no-install was given; {NEXT}"));
    }
    eprintln!(
        "installing cargo-nextest (cargo install cargo-nextest --locked): some minutes, once; --no-install forbids it"
    );
    let mut install = process::cargo(root);
    install.args(["install", "cargo-nextest", "--locked"]);
    let log = logs.join("install-nextest.log");
    let installed = process::answer(&mut install, &log, LONG).and_then(|_| version());
    installed.map(drop).map_err(|why| {
        format!(
            "could not install cargo-nextest: {why}; see {}; https://nexte.st has ready-made ones",
            log.display()
        )
    })
}

fn docker(root: &Path, logs: &Path) -> Found {
    let mut info = process::command("docker", root);
    info.args(["info", "--format", "{{.ServerVersion}}"]);
    process::answer(&mut info, &logs.join("docker.log"), SOON).map(drop)
}

fn image(root: &Path, logs: &Path, image: &str) -> Found {
    let ask = |words: &[&str], limit| {
        let log = logs.join(format!("image-{}.log", image.replace([':', '/'], "-")));
        process::answer(process::command("docker", root).args(words).arg(image), &log, limit).map(drop)
    };
    if ask(&["image", "inspect", "--format", "{{.Id}}"], SOON).is_ok() {
        return Ok(());
    }
    eprintln!("pulling the image {image}");
    ask(&["pull", "--quiet"], LONG).map_err(|why| format!("no image {image}: {why}"))
}

/// Where servers are, besides the PATH; a `*` stands for any one folder.
const USUAL: [&str; 12] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/usr/local/mysql/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/*/bin",
    "/usr/local/opt/*/bin",
    "/usr/local/bin",
    "/usr/bin",
];

fn installed(engine: Engine) -> Found {
    let names: &[&str] = match engine {
        Engine::Sqlite => return Ok(()),
        Engine::Postgres => &["postgres"],
        Engine::MySql => &["mariadbd", "mysqld"],
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(USUAL.into_iter().flat_map(expand));
    let exists = |folder: PathBuf| names.iter().any(|name| folder.join(name).is_file());
    if folders.into_iter().any(exists) {
        return Ok(());
    }
    Err(format!("no `{}` on the PATH or in the usual places", names.join("` or `")))
}

/// The folders that a pattern with one `*` in it stands for.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![PathBuf::from(pattern)] };
    let (folder, start) = before.rsplit_once('/').unwrap_or(("", before));
    let after = after.trim_start_matches('/');
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let fits = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(start);
    entries.flatten().filter(|entry| fits(&entry.file_name())).map(|entry| entry.path().join(after)).collect()
}

/// Installs and starts nothing: a policy-rc.d of our own, gone again afterwards, keeps the packages from starting
/// their services, unless the machine has a policy already.
const APT: &str = r#"set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -o DPkg::Lock::Timeout=300 update
apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
"#;

fn apt(root: &Path, logs: &Path, engines: &[Engine]) -> Found {
    let packages: Vec<_> = engines.iter().filter_map(|engine| engine.package()).collect();
    let by_hand = format!("`apt-get install {}`", packages.join(" "));
    let is_debian = std::fs::read_to_string("/etc/os-release").is_ok_and(|text| is_debian_like(&text));
    if !is_debian {
        return Err("this is neither Debian nor Ubuntu, so nothing was installed".to_owned());
    }
    let says = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let is_root = process::command("id", root)
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let mut command = if is_root {
        process::command("sh", root)
    } else if says(process::command("sudo", root).args(["-n", "true"])) {
        let mut sudo = process::command("sudo", root);
        sudo.args(["-n", "sh"]);
        sudo
    } else {
        return Err("there is neither root nor a sudo that asks nothing, so nothing was installed".to_owned());
    };
    eprintln!(
        "installing {} with apt-get, starting no service; --no-install forbids it",
        packages.join(" and ")
    );
    command.args(["-c", APT, "sh"]).args(&packages);
    let log = logs.join("apt.log");
    process::answer(&mut command, &log, LONG)
        .map(drop)
        .map_err(|why| format!("could not install it: {why}; see {}, then run {by_hand}", log.display()))
}

/// Whether an /etc/os-release is of a system with Debian's packages.
fn is_debian_like(os_release: &str) -> bool {
    let of = |name: &str| os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let words =
        |value: &str| value.trim_matches('"').split(' ').any(|word| word == "debian" || word == "ubuntu");
    of("ID").is_some_and(words) || of("ID_LIKE").is_some_and(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_what_is_like_it_is_known() {
        assert!(is_debian_like("PRETTY_NAME=\"x\"\nVERSION_ID=\"12\"\nID=debian\n"));
        assert!(is_debian_like("ID=pop\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian_like("NAME=\"not debian\"\nID=fedora\nID_LIKE=\"rhel\"\n"));
        assert!(!is_debian_like(""));
    }

    #[test]
    fn a_star_stands_for_any_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = folder.path().to_string_lossy().into_owned();
        for name in ["pgsql-15/bin", "pgsql-18/bin", "mysql/bin"] {
            std::fs::create_dir_all(folder.path().join(name)).expect("a folder");
        }
        let mut found = expand(&format!("{base}/pgsql-*/bin"));
        found.sort();
        assert_eq!(found, [folder.path().join("pgsql-15/bin"), folder.path().join("pgsql-18/bin")]);
        assert_eq!(expand(&format!("{base}/*/bin")).len(), 3);
        assert_eq!(expand("/no/such/*/bin"), Vec::<PathBuf>::new());
        assert_eq!(expand("/plain"), [PathBuf::from("/plain")]);
    }

    /// Runs the script with a folder for the machine and an apt-get that tells what it saw.
    #[cfg(unix)]
    fn install(folder: &Path, apt_get: &str) -> (bool, String) {
        use std::os::unix::fs::PermissionsExt as _;
        let stub = folder.join("apt-get");
        let policy = folder.join("policy-rc.d");
        let said = folder.join("said");
        let text =
            format!("#!/bin/sh\necho $(cat {}) \"$@\" >> {}\n{apt_get}\n", policy.display(), said.display());
        std::fs::write(&stub, text).expect("a stub");
        std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o755)).expect("a stub that runs");
        let script = APT.replace("/usr/sbin/policy-rc.d", &policy.to_string_lossy());
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
        let output = process::command("sh", folder)
            .env("PATH", path)
            .args(["-c", &script, "sh", "postgresql"])
            .output();
        (output.expect("a shell").status.success(), std::fs::read_to_string(said).unwrap_or_default())
    }

    #[cfg(unix)]
    #[test]
    fn installing_starts_no_service_and_leaves_no_policy_behind() {
        for (apt_get, well) in [("exit 0", true), ("exit 100", false)] {
            let folder = tempfile::tempdir().expect("a folder");
            let (success, said) = install(folder.path(), apt_get);
            assert_eq!(success, well);
            assert!(said.starts_with("#!/bin/sh exit 101 "), "{said}");
            assert_eq!(said.contains("install -y --no-install-recommends postgresql"), well, "{said}");
            assert!(!folder.path().join("policy-rc.d").exists());
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_policy_that_the_machine_has_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let policy = folder.path().join("policy-rc.d");
        std::fs::write(&policy, "the machine's own").expect("a policy");
        assert!(install(folder.path(), "exit 0").0);
        assert_eq!(std::fs::read_to_string(policy).expect("still there"), "the machine's own");
    }
}
