//! What a URI says about the configuration.

use core::time::Duration;

use super::Config;
use crate::uri::Uri;

impl Uri {
    /// The configuration that it stands for; what it does not say has its default. Host, port and TLS are not in it.
    pub fn config(&self) -> Config {
        let mut config = Config::default().mechanisms(self.mechanisms()).vhost(self.vhost());
        let options = &self.options;
        if let Some(seconds) = options.heartbeat {
            config.heartbeat = seconds.into();
        }
        if let Some(milliseconds) = options.connection_timeout {
            config.connect_timeout = Duration::from_millis(milliseconds.into());
        }
        config.channel_max = options.channel_max.unwrap_or(config.channel_max);
        config.frame_max = options.frame_max.unwrap_or(config.frame_max);
        config.connection_name = options.connection_name.clone();
        config
    }
}
