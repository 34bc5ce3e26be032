//! A real nginx with a configuration of the test.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use super::{Folder, eventually, free_port};

pub struct Nginx {
    child: Child,
    pub address: SocketAddr,
    pub folder: Folder,
}

impl Nginx {
    /// Starts nginx with one server whose block holds `server`; its root is the folder `www`.
    #[track_caller]
    pub fn start(server: &str) -> Self {
        Self::with("", server)
    }

    /// The same with `http` before the server's block; in it `FOLDER/` is the folder of this nginx.
    #[track_caller]
    pub fn with(http: &str, server: &str) -> Self {
        let folder = Folder::new();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        folder.write("www/.keep", "");
        let place = folder.arg("");
        let http = http.replace("FOLDER/", &place);
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let config = format!(
            "{user} worker_processes 1; daemon off; master_process off; pid {place}pid; error_log {place}error.log;
             events {{ worker_connections 512; }}
             http {{
               access_log off; client_body_temp_path {place}body; proxy_temp_path {place}proxy;
               fastcgi_temp_path {place}fastcgi; uwsgi_temp_path {place}uwsgi; scgi_temp_path {place}scgi;
               types {{ text/plain txt; application/json json; }}
               {http}
               server {{ listen {address}; root {place}www; {server} }}
             }}"
        );
        let config = folder.write("nginx.conf", config);
        let child = Command::new("nginx")
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
            .args(["-c", &config])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("nginx: {error}; `make test` installs what the tests need"));
        let nginx = Self { child, address, folder };
        eventually("nginx listens", || TcpStream::connect(address).is_ok());
        nginx
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
