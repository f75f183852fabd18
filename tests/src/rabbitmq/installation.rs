//! Where RabbitMQ is on this machine.
//!
//! The scripts inside the package are what we want: the wrapper in `/usr/sbin` changes to the user `rabbitmq` and to
//! `/var/lib/rabbitmq`, which are the machine's own node.

use std::fs;
use std::path::{Path, PathBuf};

use super::StartError;

/// Names the directory with the scripts, for a RabbitMQ that is not where packages put it.
const OVERRIDE: &str = "AMQP_TEST_RABBITMQ_SBIN";

/// Where packages unpack to: of Debian and of RabbitMQ's own, then Homebrew's, which has the scripts in `sbin` directly.
const PACKAGES: &str = "/usr/lib/rabbitmq/lib";
const HOMEBREW: [&str; 2] = ["/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin"];

/// A directory that holds `rabbitmq-server` and `rabbitmqctl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installation {
    sbin: PathBuf,
}

impl Installation {
    pub(super) fn find() -> Result<Self, StartError> {
        if let Some(sbin) = std::env::var_os(OVERRIDE) {
            return Self::at(PathBuf::from(sbin)).ok_or(StartError::NotInstalled);
        }
        Self::newest_in(Path::new(PACKAGES))
            .or_else(|| HOMEBREW.iter().find_map(|sbin| Self::at(PathBuf::from(sbin))))
            .ok_or(StartError::NotInstalled)
    }

    pub(super) fn server(&self) -> PathBuf {
        self.sbin.join("rabbitmq-server")
    }

    pub(super) fn ctl(&self) -> PathBuf {
        self.sbin.join("rabbitmqctl")
    }

    fn newest_in(packages: &Path) -> Option<Self> {
        let mut versions: Vec<(Vec<u32>, PathBuf)> = fs::read_dir(packages)
            .ok()?
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let version = name.to_str()?.strip_prefix("rabbitmq_server-")?;
                Some((version.split('.').map_while(|part| part.parse().ok()).collect(), entry.path().join("sbin")))
            })
            .collect();
        versions.sort();
        versions.into_iter().rev().find_map(|(_, sbin)| Self::at(sbin))
    }

    fn at(sbin: PathBuf) -> Option<Self> {
        let found = Self { sbin };
        (found.server().is_file() && found.ctl().is_file()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_wins_and_an_empty_machine_has_none() {
        let packages = std::env::temp_dir().join(format!("amqp-test-installation-{}", std::process::id()));
        assert_eq!(Installation::newest_in(&packages), None);
        for version in ["3.9.13", "3.10.8", "3.8.2"] {
            let sbin = packages.join(format!("rabbitmq_server-{version}/sbin"));
            fs::create_dir_all(&sbin).unwrap();
            fs::write(sbin.join("rabbitmq-server"), "").unwrap();
            fs::write(sbin.join("rabbitmqctl"), "").unwrap();
        }
        // Left over after an upgrade: a directory without its scripts.
        fs::create_dir_all(packages.join("rabbitmq_server-4.0.5/sbin")).unwrap();
        let newest = Installation::newest_in(&packages);
        let expected = packages.join("rabbitmq_server-3.10.8/sbin/rabbitmq-server");
        fs::remove_dir_all(&packages).unwrap();
        assert_eq!(newest.map(|found| found.server()), Some(expected));
    }
}
