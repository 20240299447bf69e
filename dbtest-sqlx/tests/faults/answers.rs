//! No server can be had: the answer comes within ten seconds, and says what was tried and what to do.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dbtest_sqlx::{Probe, SqlxMySql, SqlxPostgres};

use crate::child::Process;
use crate::scene::{SUITE, assert_says, child_command, folder, variable};

/// The promise, and what starting a process takes on a machine that has much else to do.
const PROMISE: Duration = Duration::from_secs(15);

/// Runs where these settings are, and returns what it said.
fn answer<B: Probe>(folder: &Path, set: &[(&str, &str)]) -> String {
    let mut command: Command = child_command::<B>(folder);
    // Docker's own settings must not lead it elsewhere.
    for name in ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
        command.env_remove(name);
    }
    command.env("HOME", folder).envs(set.iter().copied());
    let (passed, said, took) = Process::start(command, SUITE, &[]).ended();
    assert!(!passed, "{said}");
    assert!(took < PROMISE, "{took:?}: {said}");
    said
}

/// Both engines ask for a container alone.
fn with_docker_at(address: &str, words: &[&str]) {
    let step = "next step: start Docker, or set DOCKER_HOST to where it listens, or install";
    with_an_engine_at(address, &[words, &[step]].concat());
}

fn with_an_engine_at(address: &str, words: &[&str]) {
    let folder = folder();
    let set = [("DBTEST_SERVER", "container"), ("DOCKER_HOST", address)];
    for said in [answer::<SqlxPostgres>(folder.path(), &set), answer::<SqlxMySql>(folder.path(), &set)] {
        assert_says(&said, &["Tried:\n  - container ", "or install"]);
        assert_says(&said, words);
    }
}

#[test]
fn docker_is_absent() {
    with_docker_at(
        "unix:///nowhere/docker.sock",
        &["no container engine answers at unix:///nowhere/docker.sock"],
    );
}

#[test]
fn docker_leads_nowhere() {
    // Port 1 is nobody's.
    with_docker_at("tcp://127.0.0.1:1", &["no container engine answers at tcp://127.0.0.1:1"]);
}

#[test]
fn dockers_socket_never_answers() {
    let folder = folder();
    let path = folder.path().join("docker.sock");
    // Whoever connects is taken in by the system, and nobody ever reads.
    let _listener = UnixListener::bind(&path).expect("a socket");
    with_docker_at(&format!("unix://{}", path.display()), &["no answer within 3 seconds"]);
}

#[test]
fn dockers_port_never_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("tcp://{}", listener.local_addr().expect("an address"));
    with_docker_at(&address, &["no answer within 3 seconds"]);
    // On a machine that needs longer for everything.
    let folder = folder();
    let set = [("DBTEST_SERVER", "container"), ("DOCKER_HOST", address.as_str()), ("DBTEST_PATIENCE", "2")];
    assert_says(&answer::<SqlxPostgres>(folder.path(), &set), &["no answer within 6 seconds"]);
}

/// An engine that answers its ping and has an error for all else.
fn with_an_engine_that_says(status: &'static str, message: &'static str, words: &[&str]) {
    let folder = folder();
    let path = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let (mut request, mut part) = (Vec::new(), [0; 4096]);
                while let Ok(read) = stream.read(&mut part) {
                    if read == 0 {
                        return;
                    }
                    request.extend_from_slice(&part[..read]);
                    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                    let head = String::from_utf8_lossy(&request[..end]).into_owned();
                    let (status, kind, body) = match &head {
                        head if head.contains("/_ping") => ("200 OK", "text/plain", "OK".to_owned()),
                        // No container is there yet, and the engine is like any other.
                        head if head.contains("/containers/json") => {
                            ("200 OK", "application/json", "[]".to_owned())
                        }
                        _ => (status, "application/json", format!("{{\"message\":\"{message}\"}}")),
                    };
                    let length = body.len();
                    let answer = format!(
                        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                    );
                    // It may have gone.
                    let _ = stream.write_all(answer.as_bytes());
                    return;
                }
            });
        }
    });
    with_an_engine_at(&format!("unix://{}", path.display()), words);
}

#[test]
fn docker_is_out_of_disk() {
    let message = "write /var/lib/docker/tmp/layer: no space left on device";
    with_an_engine_that_says("500 Internal Server Error", message, &["no space left on device"]);
}

#[test]
fn docker_has_not_the_image_and_cannot_get_it() {
    let message = "pull access denied, repository does not exist or may require authorization";
    let step = "next step: pull the image (docker pull ";
    with_an_engine_that_says("404 Not Found", message, &["cannot be started", "pull access denied", step]);
}

/// Against the engine that there is: a registry that refuses us.
#[test]
fn the_real_docker_has_not_the_image() {
    if !docker_answers() {
        crate::scene::missing("no Docker answers here", "start Docker");
        return;
    }
    let folder = folder();
    let image = "127.0.0.1:1/nobody/postgres:18";
    let set = [("DBTEST_SERVER", "container"), ("DBTEST_POSTGRES_IMAGE", image)];
    let said = answer::<SqlxPostgres>(folder.path(), &set);
    assert_says(&said, &["Tried:\n  - container 127.0.0.1:1/nobody/postgres:18", "cannot be started"]);
    assert_says(
        &said,
        &["next step: pull the image (docker pull 127.0.0.1:1/nobody/postgres:18), or name one"],
    );
    assert!(!said.contains("start Docker"), "it runs: {said}");
}

/// The same with a registry that takes our connection and says nothing.
#[test]
fn the_real_docker_asks_a_registry_that_never_answers() {
    if !docker_answers() {
        crate::scene::missing("no Docker answers here", "start Docker");
        return;
    }
    let folder = folder();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let image = format!("{}/nobody/postgres:18", listener.local_addr().expect("an address"));
    let set = [("DBTEST_SERVER", "container"), ("DBTEST_POSTGRES_IMAGE", &*image)];
    let said = answer::<SqlxPostgres>(folder.path(), &set);
    assert_says(&said, &["Tried:\n  - container 127.0.0.1:", "the registry"]);
}

pub(crate) fn docker_answers() -> bool {
    Command::new("docker").arg("version").output().is_ok_and(|output| output.status.success())
}

fn with_a_server_that_never_answers<B: Probe>(scheme: &str) {
    let (folder, listener) = (folder(), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let address = listener.local_addr().expect("an address");
    let url = format!("{scheme}://me:hunter2@{address}/app");
    let said = answer::<B>(folder.path(), &[(variable(B::ENGINE), &url)]);
    assert_says(&said, &["cannot connect to", &address.to_string(), "no answer within 10 seconds"]);
}

#[test]
fn the_urls_server_never_answers() {
    with_a_server_that_never_answers::<SqlxPostgres>("postgres");
    with_a_server_that_never_answers::<SqlxMySql>("mysql");
}

#[test]
fn nothing_is_installed() {
    let folder = folder();
    let set = [("DBTEST_SERVER", "url")];
    for said in [answer::<SqlxPostgres>(folder.path(), &set), answer::<SqlxMySql>(folder.path(), &set)] {
        assert_says(&said, &["Tried:\n  - a URL: none is set", "start Docker, or install"]);
    }
}
