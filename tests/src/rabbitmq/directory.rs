//! The directory of one node: its name, its configuration, its environment, and what its watchdog reports in files.
//!
//! Everything that RabbitMQ and Erlang would otherwise look for in the home directory, in `/etc` or in `/var` is set
//! here, and nothing of our own environment but `PATH` gets through.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::Builder;
use super::start::Ports;

/// How long a killed node may take to be gone. The kernel needs milliseconds; a busy machine gets some more.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// No remote host, no guest restrictions, and no alarm on a small disk.
const CONFIG: &str = "loopback_users = none\ndisk_free_limit.absolute = 1MB\n";

/// Two schedulers are plenty for a test, and none of them spins while it waits.
const VM_ARGUMENTS: &str = "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none";

#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    node: String,
    ports: Ports,
}

impl Directory {
    /// Makes the directory and fills it with what the node reads.
    pub(super) fn create(builder: &Builder, ports: Ports) -> io::Result<Self> {
        let (path, name) = new_directory()?;
        let directory = Self { path, node: format!("{name}@localhost"), ports };
        fs::create_dir(directory.file("home"))?;
        let mut cookie =
            OpenOptions::new().write(true).create_new(true).mode(0o400).open(directory.file("home/.erlang.cookie"))?;
        cookie.write_all(format!("{:016x}{:016x}", random(), random()).as_bytes())?;
        let listener = format!("listeners.tcp.1 = 127.0.0.1:{}\n", ports.amqp);
        fs::write(directory.file("rabbitmq.conf"), format!("{listener}{CONFIG}{}", builder.config))?;
        fs::write(directory.file("advanced.config"), builder.advanced.as_deref().unwrap_or("[]."))?;
        fs::write(directory.file("enabled_plugins"), "[].")?;
        Ok(directory)
    }

    /// A command in the environment of this node.
    pub(super) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(&self.path).env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("LANG", "C.UTF-8").env("HOME", self.file("home"));
        for (variable, file) in [
            ("RABBITMQ_MNESIA_BASE", "mnesia-base"),
            ("RABBITMQ_MNESIA_DIR", "mnesia"),
            ("RABBITMQ_QUORUM_DIR", "quorum"),
            ("RABBITMQ_STREAM_DIR", "stream"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
            ("RABBITMQ_CONFIG_FILES", "conf.d"),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
            ("RABBITMQ_PLUGINS_EXPAND_DIR", "plugins-expand"),
            ("RABBITMQ_GENERATED_CONFIG_DIR", "generated"),
            ("RABBITMQ_SCHEMA_DIR", "schema"),
            ("RABBITMQ_FEATURE_FLAGS_FILE", "feature_flags"),
            ("RABBITMQ_PID_FILE", "vm.pid"),
        ] {
            command.env(variable, self.file(file));
        }
        command.env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        command.env("RABBITMQ_NODENAME", &self.node);
        command.env("RABBITMQ_DIST_PORT", self.ports.distribution.to_string());
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", VM_ARGUMENTS);
        // To standard output, which the watchdog sends to server.log along with what the VM says when it dies.
        command.env("RABBITMQ_LOGS", "-");
        // The start script then becomes the VM, instead of standing between it and our signals.
        command.env("RUNNING_UNDER_SYSTEMD", "true");
        command.env("ERL_EPMD_ADDRESS", "127.0.0.1").env("ERL_EPMD_PORT", self.ports.epmd.to_string());
        // Any free port on loopback: by default all rabbitmqctl of the machine share ten.
        command.env("RABBITMQ_CTL_DIST_PORT_MIN", "0").env("RABBITMQ_CTL_DIST_PORT_MAX", "0");
        command.env("RABBITMQ_CTL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}");
        command
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The name with its host, as Erlang writes it.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    pub(super) fn ports(&self) -> Ports {
        self.ports
    }

    /// The process id of the VM. The node writes it early, long before it listens.
    pub(super) fn vm_pid(&self) -> io::Result<u32> {
        let text = fs::read_to_string(self.file("vm.pid"))?;
        text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("vm.pid holds {text:?}")))
    }

    /// The exit status of our epmd, if it has ended.
    pub(super) fn epmd_status(&self) -> Option<String> {
        fs::read_to_string(self.file("epmd.exit")).ok()
    }

    pub(super) fn server_has_ended(&self) -> bool {
        self.file("server.exit").exists()
    }

    pub(super) fn server_log(&self) -> String {
        fs::read(self.file("server.log"))
            .map_or_else(|_| String::new(), |log| String::from_utf8_lossy(&log).into_owned())
    }

    pub(super) fn wait_for_end_of_server(&self) -> io::Result<()> {
        let deadline = Instant::now() + END_DEADLINE;
        while !self.server_has_ended() {
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the killed node is still there"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Directory {
    // The watchdog has done this already, unless it was never started.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A directory that did not exist before, and its name, which no other node of this machine has.
fn new_directory() -> io::Result<(PathBuf, String)> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    loop {
        let name = format!("amqp-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(&name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok((path, name)),
            // Of an earlier process with our id, whose watchdog was killed too.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
