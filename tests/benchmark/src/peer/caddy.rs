//! Caddy: what Tollgate takes the place of.

use super::{Peer, Setup, Tls};
use crate::sender::{PASSWORD_BCRYPT, USER};
use anyhow::Result;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Caddy as its users write it. Its basic_auth keeps verified passwords in a cache, so the bcrypt hash
/// costs something only once.
pub struct Caddy {
    /// The program.
    pub program: PathBuf,
}

impl Peer for Caddy {
    fn name(&self) -> &'static str {
        "caddy"
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn version_argument(&self) -> &'static str {
        "version"
    }

    fn command(&self, setup: &Setup) -> Result<Command> {
        let configuration = setup.folder.join("Caddyfile");
        fs::write(&configuration, text(setup))?;
        let mut command = Command::new(&self.program);
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(configuration);
        // It leaves nothing in anybody's home.
        command
            .env("HOME", &setup.folder)
            .env("XDG_DATA_HOME", &setup.folder)
            .env("XDG_CONFIG_HOME", &setup.folder);
        Ok(command)
    }
}

fn text(setup: &Setup) -> String {
    let Setup { folder, listen, sink, tls, .. } = setup;
    let (folder, port) = (folder.display(), listen.port());
    let (site, certificate) = match tls {
        None => (format!("http://:{port}"), String::new()),
        Some(Tls { certificate, key, .. }) => {
            (format!("https://localhost:{port}"), format!("tls {} {}", certificate.display(), key.display()))
        }
    };
    format!(
        r#"
{{
	admin off
	auto_https off
	persist_config off
	log {{
		level WARN
	}}
}}

{site} {{
	bind 127.0.0.1
	{certificate}
	log {{
		output file {folder}/access.log {{
			roll_disabled
		}}
		format json
		level INFO
	}}
	basic_auth {{
		{USER} {PASSWORD_BCRYPT}
	}}
	reverse_proxy {sink} {{
		transport http {{
			keepalive_idle_conns_per_host 256
		}}
	}}
}}
"#
    )
}
