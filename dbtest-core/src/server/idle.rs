//! The scripts that let a started server end itself when nobody uses it. Plain POSIX sh,
//! since it is the one thing that every image and machine with a server has; connections are
//! counted in /proc, so no client is needed.

/// What both scripts share: `watch` waits until the server is gone, or ends it when nobody was
/// connected for `$idle` seconds. The caller defines `connected` and starts `$server`.
///
/// - A minute is granted before the first connection, for starts that are slower than `$idle`.
/// - `sleep` runs in the background and is waited for, so that a signal is handled at once.
macro_rules! watch {
    () => {
        r#"
ending=
stop() { ending=1; kill -s "$signal" "$server" 2>/dev/null; }
trap stop TERM INT QUIT
watch() {
  quiet=-60
  while [ -z "$ending" ] && kill -0 "$server" 2>/dev/null; do
    sleep 1 &
    wait "$!"
    [ "$idle" = never ] && continue
    if connected; then quiet=0; else quiet=$((quiet + 1)); fi
    if [ "$quiet" -ge "$idle" ]; then stop; fi
  done
  while kill -0 "$server" 2>/dev/null; do wait "$server"; done
}
"#
    };
}

/// Runs in a container, as its first process, around the image's own entrypoint.
///
/// Arguments: the server's port in hexadecimal, seconds or `never`, the signal that ends the
/// server fast, then the entrypoint's arguments.
#[cfg(any(test, feature = "containers"))]
pub(crate) const CONTAINER: &str = concat!(
    r#"port=$1 idle=$2 signal=$3
shift 3
connected() {
  for table in /proc/net/tcp /proc/net/tcp6; do
    [ -r "$table" ] || continue
    while read -r _ here _ state _; do
      case "$here/$state" in *:"$port"/01) return 0 ;; esac
    done <"$table"
  done
  return 1
}
docker-entrypoint.sh "$@" &
server=$!
"#,
    watch!(),
    "watch\n"
);

/// Runs beside an installed server, in a process group of its own, and removes its folder and
/// its socket's when the server has ended.
///
/// Arguments: the server's folder, the data directory to copy, the socket, seconds or `never`,
/// the signal that ends the server fast, then the server's command. Where there is no
/// /proc/net/unix, connections can't be counted and the server stays.
pub(crate) const INSTALLED: &str = concat!(
    r#"folder=$1 image=$2 socket=$3 idle=$4 signal=$5
shift 5
trap '' HUP
umask 077
connected() {
  [ -r /proc/net/unix ] || return 0
  while read -r _ _ _ _ _ state _ path; do
    if [ "$state" = 03 ] && [ "$path" = "$socket" ]; then return 0; fi
  done </proc/net/unix
  return 1
}
cp -Rp "$image" "$folder/data" || exit 1
"$@" &
server=$!
"#,
    watch!(),
    "watch\nrm -rf \"$folder\" \"${socket%/*}\"\n"
);

/// The script's word for the idle time.
pub(crate) fn word(idle: Option<u64>) -> String {
    idle.map_or_else(|| "never".to_owned(), |seconds| seconds.to_string())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_scripts_are_what_a_posix_shell_reads() {
        for script in [CONTAINER, INSTALLED] {
            let read = Command::new("sh").args(["-n", "-c", script]).output().expect("sh");
            assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        }
    }

    /// The same script with the first minute's grace taken out, around a `sleep` for a server.
    fn watch(folder: &std::path::Path, idle: &str) -> std::process::Child {
        let image = folder.join("image");
        let run = folder.join("run");
        std::fs::create_dir_all(&image).expect("a folder");
        std::fs::create_dir_all(&run).expect("a folder");
        Command::new("sh")
            .args(["-c", &INSTALLED.replace("quiet=-60", "quiet=0"), "dbtest"])
            .arg(run)
            .arg(image)
            .arg(folder.join("run/socket"))
            .args([idle, "TERM", "sleep", "60"])
            .stderr(Stdio::null())
            .spawn()
            .expect("sh")
    }

    fn ended(child: &mut std::process::Child, within: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < within {
            if child.try_wait().expect("a child").is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    #[test]
    fn a_server_without_clients_ends_and_its_folder_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = watch(folder.path(), "1");
        assert!(ended(&mut child, Duration::from_secs(10)));
        assert!(!folder.path().join("run").exists());
    }

    #[test]
    fn a_connected_client_keeps_the_server_and_its_end_ends_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("run/socket");
        std::fs::create_dir(folder.path().join("run")).expect("a folder");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let client = UnixStream::connect(&socket).expect("a client");
        let accepted = listener.accept().expect("a connection");
        let mut child = watch(folder.path(), "1");
        assert!(!ended(&mut child, Duration::from_secs(3)), "it ended under its client");
        drop((client, accepted));
        assert!(ended(&mut child, Duration::from_secs(10)));
    }

    #[test]
    fn never_is_never_until_it_is_told_to_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = watch(folder.path(), "never");
        assert!(!ended(&mut child, Duration::from_secs(3)));
        let told = Command::new("kill").arg(child.id().to_string()).status().expect("kill");
        assert!(told.success());
        assert!(ended(&mut child, Duration::from_secs(5)));
        assert!(!folder.path().join("run").exists());
    }
}
