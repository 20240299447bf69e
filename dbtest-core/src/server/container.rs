//! Servers in containers: found by label, or started; one for all processes of the machine.

use std::fmt;

use crate::engine::Engine;

/// A server in a container, for [`Server::container`](crate::Server::container). It is fast and
/// forgetful unless told otherwise: data in memory, no durability.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Container {
    image: String,
    env: Vec<(String, String)>,
    args: Vec<String>,
    on_disk: bool,
    durable: bool,
}

impl Container {
    pub(super) fn new(image: impl Into<String>) -> Self {
        Self { image: image.into(), env: Vec::new(), args: Vec::new(), on_disk: false, durable: false }
    }

    /// One more environment variable of the container.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// One more argument of the server's command line, after dbtest's own, so that it wins.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Keeps the data on the container's disk and not in memory: for large data.
    #[must_use]
    pub fn on_disk(mut self) -> Self {
        self.on_disk = true;
        self
    }

    /// Leaves the server's durability settings as the image has them.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    fn origin(&self) -> String {
        format!("container {}", self.image)
    }
}

/// Without the values of variables: one may be a password.
impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server::container({:?})", self.image)?;
        for (name, _) in &self.env {
            write!(f, ".env({name:?}, …)")?;
        }
        for arg in &self.args {
            write!(f, ".arg({arg:?})")?;
        }
        f.write_str(if self.on_disk { ".on_disk()" } else { "" })?;
        f.write_str(if self.durable { ".durable()" } else { "" })
    }
}

#[cfg(not(feature = "containers"))]
pub(super) async fn find(
    container: &Container,
    _engine: Engine,
    _connect: &super::Connect,
) -> crate::error::Result<super::Running> {
    Err(crate::error::Error::unavailable(
        format!("{} was not tried: dbtest was built without the feature `containers`", container.origin()),
        "add the feature `containers`",
    ))
}

#[cfg(not(feature = "containers"))]
pub(super) async fn examine(image: &str) -> crate::error::Result<(String, bool)> {
    Err(crate::error::Error::unavailable(
        format!("container {image} was not tried: dbtest was built without the feature `containers`"),
        "add the feature `containers`",
    ))
}

#[cfg(not(feature = "containers"))]
pub(super) async fn end(id: &str) -> crate::error::Result<()> {
    Err(crate::error::Error::unavailable(
        format!("the container {id} was not ended: dbtest was built without the feature `containers`"),
        "add the feature `containers`",
    ))
}

#[cfg(feature = "containers")]
pub(super) use started::{end, examine, find};

#[cfg(feature = "containers")]
mod started {
    use std::collections::{HashMap, VecDeque};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use testcontainers::bollard::Docker;
    use testcontainers::bollard::errors::Error as BollardError;
    use testcontainers::bollard::models::{ContainerInspectResponse, PortBinding};
    use testcontainers::bollard::query_parameters::{
        InspectContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    };
    use testcontainers::core::client::docker_client_instance;
    use testcontainers::core::logs::LogFrame;
    use testcontainers::core::{ContainerPort, Mount, WaitFor};
    use testcontainers::runners::AsyncRunner;
    use testcontainers::{Image, ImageExt};

    use super::super::registry::{Entry, State};
    use super::super::{
        Connect, Failed, Running, fast_args, fast_signal, idle, known, prove_fast, ready, room_args,
    };
    use super::{Container, Engine};
    use crate::backend::BoxFuture;
    use crate::config::{config, patient};
    use crate::error::{Error, Result};
    use crate::progress;

    /// The label that a container of ours is found by. Its value is a hash of the image and of
    /// all settings: a name alone has led to the wrong version before.
    const LABEL: &str = "dbtest.server";

    /// An engine that does not answer a ping in this time is as good as absent.
    const PING: Duration = Duration::from_secs(3);

    /// A registry that does not say in this time what an image is will hardly send it.
    const REGISTRY: Duration = Duration::from_secs(6);

    /// A container that was created this long ago and does not run will not be started.
    const ABANDONED: Duration = Duration::from_secs(120);

    /// Docker's own default of 64 MB fails parallel queries.
    const SHARED_MEMORY: u64 = 1 << 30;

    /// Finds the container or starts it.
    pub(in super::super) async fn find(
        container: &Container,
        engine: Engine,
        connect: &Connect,
    ) -> Result<Running> {
        let origin = container.origin();
        let flavour = Flavour::of(container, engine);
        let command = command(container, flavour, config()?.idle);
        let entry = entry(container, &command)?;
        if let Some(running) = known(&entry, engine, &origin, connect).await? {
            return Ok(running);
        }
        let docker = docker().await?;
        let lock = entry.lock(&origin).await?;
        // Another process may have started it while this one waited for the lock.
        if let Some(running) = known(&entry, engine, &origin, connect).await? {
            return Ok(running);
        }
        if let Some(error) = entry.failure() {
            return Err(error);
        }
        let start = labelled_or_new(container, flavour, command, &entry, &docker, connect);
        let running = progress::while_waiting(&format!("starting {origin}"), start).await;
        let running = running.inspect_err(|error| entry.remember_failure(error));
        drop(lock);
        running
    }

    /// Removes a container of ours. One that is none, whatever a state file says, stays.
    pub(in super::super) async fn end(id: &str) -> Result<()> {
        let docker = docker().await?;
        let inspected = docker.inspect_container(id, None::<InspectContainerOptions>).await;
        let labels = inspected.ok().and_then(|it| it.config).and_then(|config| config.labels);
        if labels.is_some_and(|labels| labels.contains_key(LABEL)) {
            remove(&docker, id).await;
        }
        Ok(())
    }

    /// What the engine says it is, and whether it has the image.
    pub(in super::super) async fn examine(image: &str) -> Result<(String, bool)> {
        let docker = docker().await?;
        let version = docker.version().await.ok().and_then(|it| it.version).unwrap_or_default();
        let name = format!("the container engine {version}");
        Ok((name.trim_end().to_owned(), docker.inspect_image(image).await.is_ok()))
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Flavour {
        Postgres,
        MySql,
        MariaDb,
    }

    impl Flavour {
        fn of(container: &Container, engine: Engine) -> Self {
            match engine {
                Engine::Postgres => Self::Postgres,
                _ if container.image.contains("mariadb") => Self::MariaDb,
                _ => Self::MySql,
            }
        }

        fn engine(self) -> Engine {
            if self == Self::Postgres { Engine::Postgres } else { Engine::MySql }
        }

        fn port(self) -> u16 {
            if self == Self::Postgres { 5432 } else { 3306 }
        }

        /// A folder of our own on Postgres: the official image moved its own in 18.
        fn tmpfs(self) -> &'static str {
            if self == Self::Postgres { "/dbtest" } else { "/var/lib/mysql" }
        }

        fn password(self) -> &'static str {
            match self {
                Self::Postgres => "POSTGRES_PASSWORD",
                Self::MySql => "MYSQL_ROOT_PASSWORD",
                Self::MariaDb => "MARIADB_ROOT_PASSWORD",
            }
        }

        fn env(self, password: String) -> HashMap<String, String> {
            let mut env = HashMap::from([(self.password().to_owned(), password)]);
            if self == Self::Postgres {
                env.insert("PGDATA".to_owned(), "/dbtest/data".to_owned());
                if remote_engine().is_none() {
                    // The proof of SCRAM costs a client that was built without optimisation 50 ms
                    // a connection. The password goes over loopback only.
                    env.insert("POSTGRES_HOST_AUTH_METHOD".to_owned(), "password".to_owned());
                }
            }
            env
        }

        /// The maintenance URL, as the container's environment says it.
        fn url(self, env: &HashMap<String, String>, address: &str) -> String {
            let get = |name: &str| env.get(name).map(String::as_str).filter(|value| !value.is_empty());
            let (scheme, user, database) = match self {
                Self::Postgres => {
                    let user = get("POSTGRES_USER").unwrap_or("postgres");
                    ("postgres", user, get("POSTGRES_DB").unwrap_or(user))
                }
                _ => ("mysql", "root", "information_schema"),
            };
            let mut url = format!("{scheme}://{address}/");
            if let Ok(mut parsed) = ::url::Url::parse(&url) {
                // These fail on URLs without a host only.
                let _ = parsed.set_username(user);
                let _ = parsed.set_password(get(self.password()));
                parsed.set_path(database);
                url = parsed.into();
            }
            url
        }
    }

    /// The arguments of `sh`: the idle script and what it runs.
    fn command(container: &Container, flavour: Flavour, idle: Option<u64>) -> Vec<String> {
        let engine = flavour.engine();
        let mut command = vec![
            "-c".to_owned(),
            idle::CONTAINER.to_owned(),
            "dbtest".to_owned(),
            format!("{:04X}", flavour.port()),
            idle::word(idle),
            fast_signal(engine).to_owned(),
            match flavour {
                Flavour::Postgres => "postgres",
                Flavour::MySql => "mysqld",
                Flavour::MariaDb => "mariadbd",
            }
            .to_owned(),
        ];
        command.extend(room_args(engine));
        if !container.durable {
            command.extend(fast_args(engine));
        }
        command.extend(container.args.iter().cloned());
        command
    }

    fn entry(container: &Container, command: &[String]) -> Result<Entry> {
        let mut parts =
            vec!["container", &container.image, if container.on_disk { "disk" } else { "memory" }];
        for (name, value) in &container.env {
            parts.extend([name.as_str(), value]);
        }
        parts.push("command");
        parts.extend(command.iter().map(String::as_str));
        Entry::new(&parts)
    }

    /// The engine's client, once the engine has answered.
    async fn docker() -> Result<Docker> {
        let absent = |why: String| {
            let at = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "its default socket".to_owned());
            Error::unavailable(
                format!("no container engine answers at {at}: {why}"),
                "start Docker, or set DOCKER_HOST to where it listens",
            )
        };
        let docker = docker_client_instance().await.map_err(|error| absent(causes(&error)))?;
        match tokio::time::timeout(patient(PING), docker.ping()).await {
            Ok(Ok(_)) => Ok(docker),
            Ok(Err(error)) => Err(absent(causes(&error))),
            Err(_) => Err(absent(format!("no answer within {} seconds", patient(PING).as_secs()))),
        }
    }

    /// The error and its causes in one line; the engine's client tells the reason last.
    fn causes(error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(error) = next {
            let more = error.to_string();
            if !text.contains(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            next = error.source();
        }
        text
    }

    async fn labelled_or_new(
        container: &Container,
        flavour: Flavour,
        command: Vec<String>,
        entry: &Entry,
        docker: &Docker,
        connect: &Connect,
    ) -> Result<Running> {
        if let Some(running) = labelled(container, flavour, entry, docker, connect).await? {
            return Ok(running);
        }
        let engine = flavour.engine();
        registry_answers(container, engine, docker).await?;
        let last = Arc::new(Mutex::new(VecDeque::new()));
        let started = start(container, flavour, command, entry, Arc::clone(&last)).await;
        let id = match started {
            Ok(id) => id,
            Err(why) if is_missing(docker, &container.image).await => {
                return Err(Error::no_image(&container.image, engine, why));
            }
            Err(why) => {
                return Err(Error::unavailable(
                    format!("{} cannot be started: {why}", container.origin()),
                    "see the cause (`docker pull` shows whether the image can be had)",
                ));
            }
        };
        let outcome = reached(container, flavour, entry, docker, &id, false, connect).await;
        if outcome.is_err() {
            // Neither the next run nor a person has a use for a server that can't be reached.
            remove(docker, &id).await;
        }
        outcome.map_err(|why| {
            let mut what = format!("{} was started, but {why}", container.origin());
            for line in last.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                what.push_str("\n      ");
                what.push_str(line);
            }
            Error::unavailable(what, "see what it said last; another image or setting may be needed")
        })
    }

    /// An image that is not here is pulled, however long that takes; but a registry that says nothing
    /// would be waited for nearly a minute.
    async fn registry_answers(container: &Container, engine: Engine, docker: &Docker) -> Result<()> {
        let image = &container.image;
        if docker.inspect_image(image).await.is_ok() {
            return Ok(());
        }
        // Its answer does not matter here: to pull the image says it better.
        match tokio::time::timeout(patient(REGISTRY), docker.inspect_registry_image(image, None)).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let seconds = patient(REGISTRY).as_secs();
                let why = format!(
                    "the image is not here, and the registry that has it gave no answer within {seconds} seconds"
                );
                Err(Error::no_image(image, engine, why))
            }
        }
    }

    /// Whether the engine says that it has no such image. One that says something else may have it.
    async fn is_missing(docker: &Docker, image: &str) -> bool {
        let missing = docker.inspect_image(image).await;
        matches!(missing, Err(BollardError::DockerResponseServerError { status_code: 404, .. }))
    }

    /// A container of an earlier run whose state file was lost, for instance because the process that
    /// started it was killed.
    async fn labelled(
        container: &Container,
        flavour: Flavour,
        entry: &Entry,
        docker: &Docker,
        connect: &Connect,
    ) -> Result<Option<Running>> {
        let filters = HashMap::from([("label", vec![LABEL.to_owned()])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = docker.list_containers(Some(options)).await.map_err(|error| {
            Error::unavailable(
                format!("the container engine lists nothing: {}", causes(&error)),
                "see the cause",
            )
        })?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        for summary in found {
            let Some(id) = summary.id else { continue };
            let created = Duration::from_secs(summary.created.unwrap_or(0).try_into().unwrap_or(0));
            let ours =
                summary.labels.is_some_and(|labels| labels.get(LABEL).is_some_and(|key| key == entry.key()));
            if !is_running(docker, &id).await {
                // Its starter was killed; a young one may be about to start, for another user.
                if now.saturating_sub(created) > ABANDONED {
                    remove(docker, &id).await;
                }
            } else if ours {
                if let Ok(running) = reached(container, flavour, entry, docker, &id, true, connect).await {
                    return Ok(Some(running));
                }
                remove(docker, &id).await;
            }
        }
        Ok(None)
    }

    /// Waits until the server in the container lets us in, proves its settings and remembers it.
    async fn reached(
        container: &Container,
        flavour: Flavour,
        entry: &Entry,
        docker: &Docker,
        id: &str,
        was_left: bool,
        connect: &Connect,
    ) -> Result<Running, String> {
        let inspected = docker
            .inspect_container(id, None::<InspectContainerOptions>)
            .await
            .map_err(|error| format!("ended at once: {}", causes(&error)))?;
        let env = env_of(&inspected);
        let urls: Vec<String> =
            addresses(&inspected, flavour.port()).iter().map(|address| flavour.url(&env, address)).collect();
        let mut alive = || -> BoxFuture<'static, bool> {
            let (docker, id) = (docker.clone(), id.to_owned());
            Box::pin(async move { is_running(&docker, &id).await })
        };
        let (url, mut session) =
            ready(connect, &urls, was_left, &mut alive).await.map_err(|failed| match failed {
                Failed::Ended => "it ended; it said last:".to_owned(),
                Failed::Deadline(error) => format!("cannot be reached: {error}"),
            })?;
        // A person's own arguments may set durability again.
        if !container.durable && container.args.is_empty() {
            prove_fast(flavour.engine(), &mut *session, &container.origin())
                .await
                .map_err(|error| error.to_string())?;
        }
        let state = State {
            url: url.clone(),
            container: Some(id.to_owned()),
            folder: None,
            origin: container.origin(),
        };
        entry.write(&state).map_err(|error| error.to_string())?;
        Ok(Running::new(flavour.engine(), url, container.origin(), true, Some(session)))
    }

    async fn is_running(docker: &Docker, id: &str) -> bool {
        let inspected = docker.inspect_container(id, None::<InspectContainerOptions>).await;
        inspected.ok().and_then(|it| it.state).and_then(|state| state.running).unwrap_or(false)
    }

    async fn remove(docker: &Docker, id: &str) {
        // It may remove itself in this moment; then there is nothing left to do.
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let _ = docker.remove_container(id, Some(options)).await;
    }

    fn env_of(inspected: &ContainerInspectResponse) -> HashMap<String, String> {
        let env = inspected.config.as_ref().and_then(|config| config.env.as_deref()).unwrap_or_default();
        env.iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Where the server can be reached: the published port, and where the tests themselves run
    /// in a container beside it, its own address.
    fn addresses(inspected: &ContainerInspectResponse, port: u16) -> Vec<String> {
        let Some(network) = &inspected.network_settings else { return Vec::new() };
        let mut addresses = Vec::new();
        let bound = network.ports.as_ref().and_then(|ports| ports.get(&format!("{port}/tcp"))?.as_ref());
        let host = remote_engine().unwrap_or_else(|| "127.0.0.1".to_owned());
        for published in bound.into_iter().flatten().filter_map(|binding| binding.host_port.as_ref()) {
            let address = format!("{host}:{published}");
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if in_a_container() {
            let own = network.networks.iter().flat_map(HashMap::values);
            let own = own.filter_map(|network| network.ip_address.as_ref()).filter(|ip| !ip.is_empty());
            addresses.extend(own.map(|ip| format!("{ip}:{port}")));
        }
        addresses
    }

    fn in_a_container() -> bool {
        ["/.dockerenv", "/run/.containerenv"].iter().any(|file| std::path::Path::new(file).exists())
    }

    /// The host of an engine that is not reached through a socket of this machine.
    fn remote_engine() -> Option<String> {
        let url = ::url::Url::parse(&std::env::var("DOCKER_HOST").ok()?).ok()?;
        if !matches!(url.scheme(), "tcp" | "http" | "https") {
            return None;
        }
        url.host_str().filter(|host| !host.is_empty() && *host != "localhost").map(str::to_owned)
    }

    async fn start(
        container: &Container,
        flavour: Flavour,
        command: Vec<String>,
        entry: &Entry,
        last: Arc<Mutex<VecDeque<String>>>,
    ) -> Result<String, String> {
        let mut env = flavour.env(password()?);
        env.extend(container.env.iter().cloned());
        // After the last colon of "host:5000/name:tag" or "name@sha256:digest".
        let (name, tag) = match container.image.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name.to_owned(), tag.to_owned()),
            _ => (container.image.clone(), "latest".to_owned()),
        };
        let port = ContainerPort::Tcp(flavour.port());
        let mounts = if container.on_disk { vec![] } else { vec![Mount::tmpfs_mount(flavour.tmpfs())] };
        let image = ServerImage { name, tag, env, mounts, command, ports: [port] };
        let address = remote_engine().is_none().then(|| "127.0.0.1".to_owned());
        let consumer = move |frame: &LogFrame| remember(&last, frame.bytes());
        image
            .with_label(LABEL, entry.key())
            .with_shm_size(SHARED_MEMORY)
            .with_log_consumer(consumer)
            .with_host_config_modifier(move |host| {
                host.auto_remove = Some(true);
                host.publish_all_ports = Some(false);
                // Port 0: the engine picks a free one.
                let binding = PortBinding { host_ip: address.clone(), host_port: Some("0".to_owned()) };
                host.port_bindings = Some(HashMap::from([(port.to_string(), Some(vec![binding]))]));
            })
            .start()
            .await
            .map(|started| {
                let id = started.id().to_owned();
                // Dropped, it would remove the container that other processes are to find. (Its own
                // reuse would also start one that is just ending.)
                std::mem::forget(started);
                id
            })
            .map_err(|error| causes(&error))
    }

    /// Keeps the last lines for a message: a container that removes itself takes its log along.
    fn remember(last: &Mutex<VecDeque<String>>, bytes: &[u8]) {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        for line in String::from_utf8_lossy(bytes).lines().filter(|line| !line.trim().is_empty()) {
            if last.len() == 6 {
                last.pop_front();
            }
            last.push_back(line.chars().take(300).collect());
        }
    }

    fn password() -> Result<String, String> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).map_err(|error| format!("no random password: {error}"))?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// An image of a database server, wrapped in the script that ends it when it is idle.
    #[derive(Debug)]
    struct ServerImage {
        name: String,
        tag: String,
        env: HashMap<String, String>,
        mounts: Vec<Mount>,
        command: Vec<String>,
        ports: [ContainerPort; 1],
    }

    impl Image for ServerImage {
        fn name(&self) -> &str {
            &self.name
        }

        fn tag(&self) -> &str {
            &self.tag
        }

        /// None: log lines differ between versions. Readiness is proved by connecting.
        fn ready_conditions(&self) -> Vec<WaitFor> {
            Vec::new()
        }

        fn env_vars(
            &self,
        ) -> impl IntoIterator<Item = (impl Into<std::borrow::Cow<'_, str>>, impl Into<std::borrow::Cow<'_, str>>)>
        {
            &self.env
        }

        fn mounts(&self) -> impl IntoIterator<Item = &Mount> {
            &self.mounts
        }

        fn entrypoint(&self) -> Option<&str> {
            Some("sh")
        }

        fn cmd(&self) -> impl IntoIterator<Item = impl Into<std::borrow::Cow<'_, str>>> {
            &self.command
        }

        fn expose_ports(&self) -> &[ContainerPort] {
            &self.ports
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_key_changes_with_image_settings_and_idle_time() {
            let key = |container: &Container, idle| {
                let flavour = Flavour::of(container, Engine::Postgres);
                entry(container, &command(container, flavour, idle)).expect("an entry").key().to_owned()
            };
            let plain = Container::new("postgres:17");
            let mut keys = vec![
                key(&plain, Some(600)),
                key(&plain, None),
                key(&Container::new("postgres:18"), Some(600)),
                key(&plain.clone().on_disk(), Some(600)),
                key(&plain.clone().durable(), Some(600)),
                key(&plain.clone().arg("-c"), Some(600)),
                key(&plain.clone().env("A", "B"), Some(600)),
            ];
            let all = keys.len();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), all);
        }

        #[test]
        fn the_url_is_what_the_environment_says() {
            let env = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
            };
            let own = env(&[("POSTGRES_PASSWORD", "a/b"), ("POSTGRES_USER", "app")]);
            assert_eq!(Flavour::Postgres.url(&own, "127.0.0.1:5"), "postgres://app:a%2Fb@127.0.0.1:5/app");
            let root = env(&[("MARIADB_ROOT_PASSWORD", "x")]);
            assert_eq!(
                Flavour::MariaDb.url(&root, "127.0.0.1:5"),
                "mysql://root:x@127.0.0.1:5/information_schema"
            );
        }

        #[test]
        fn the_last_lines_are_kept() {
            let last = Mutex::new(VecDeque::new());
            for number in 0..20 {
                remember(&last, format!("line {number}\n\n").as_bytes());
            }
            let last = last.into_inner().expect("not poisoned");
            assert_eq!(last.len(), 6);
            assert_eq!(last.back().map(String::as_str), Some("line 19"));
        }
    }
}
