//! nginx: the yardstick for plain forwarding.

use super::{Peer, Setup, Tls};
use crate::sender::{PASSWORD, USER};
use anyhow::Result;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// nginx with the cheapest check that it has: the password stands in its file in clear text, so that
/// no request costs a hash.
pub struct Nginx {
    /// The program.
    pub program: PathBuf,
}

impl Peer for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn version_argument(&self) -> &'static str {
        "-v"
    }

    fn command(&self, setup: &Setup) -> Result<Command> {
        let (folder, configuration) = (&setup.folder, setup.folder.join("nginx.conf"));
        fs::write(folder.join("htpasswd"), format!("{USER}:{{PLAIN}}{PASSWORD}\n"))?;
        fs::write(&configuration, text(setup))?;
        let mut command = Command::new(&self.program);
        command.arg("-p").arg(folder).arg("-c").arg(configuration).arg("-e").arg(folder.join("error.log"));
        Ok(command)
    }
}

fn text(setup: &Setup) -> String {
    let Setup { folder, listen, sink, tls, .. } = setup;
    let folder = folder.display();
    // A master that is root would give its workers to a user who may not read the folder.
    // SAFETY: has no preconditions and cannot fail.
    let user = if unsafe { libc::geteuid() } == 0 { "user root;" } else { "" };
    let (ssl, certificate) = match tls {
        None => ("", String::new()),
        Some(Tls { certificate, key, .. }) => {
            let (certificate, key) = (certificate.display(), key.display());
            let text =
                format!("ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;");
            (" ssl", text)
        }
    };
    format!(
        r#"
daemon off;
{user}
worker_processes 2;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;

events {{ worker_connections 16384; }}

http {{
    log_format json escape=json '{{"time":"$time_iso8601","client":"$remote_addr","user":"$remote_user",'
        '"method":"$request_method","path":"$uri","status":$status,"bytes":$request_length,'
        '"seconds":$request_time,"agent":"$http_user_agent"}}';
    access_log {folder}/access.log json;

    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;

    # Requests stay in memory.
    client_body_buffer_size 2m;
    client_max_body_size 16m;

    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    limit_req_zone $binary_remote_addr zone=door:1m rate=1000000r/s;

    upstream sink {{
        server {sink};
        keepalive 64;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}

    server {{
        listen {listen}{ssl};
        {certificate}

        auth_basic "door";
        auth_basic_user_file {folder}/htpasswd;
        limit_req zone=door burst=100000 nodelay;

        location / {{
            proxy_pass http://sink;
            proxy_http_version 1.1;
            proxy_request_buffering on;
            proxy_set_header Connection "";
            proxy_set_header Authorization "";
        }}
    }}
}}
"#
    )
}
