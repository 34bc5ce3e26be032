//! A real Varnish with its built-in rules, before one origin.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use super::{Folder, eventually, free_port};

pub struct Varnish {
    child: Child,
    pub address: SocketAddr,
    _folder: Folder,
}

impl Varnish {
    /// Starts it with these parameters (`-p`).
    #[track_caller]
    pub fn start(origin: SocketAddr, parameters: &[&str]) -> Self {
        let folder = Folder::new();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let child = Command::new("varnishd")
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
            .args(["-F", "-j", "none", "-n", &folder.arg("work"), "-s", "malloc,64M"])
            .args(["-a", &address.to_string(), "-b", &origin.to_string()])
            .args(parameters.iter().flat_map(|parameter| ["-p", parameter]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("varnishd: {error}; `make test` installs what the tests need"));
        eventually("Varnish listens", || TcpStream::connect(address).is_ok());
        Self { child, address, _folder: folder }
    }
}

impl Drop for Varnish {
    fn drop(&mut self) {
        // Asked to, it ends its worker too.
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
