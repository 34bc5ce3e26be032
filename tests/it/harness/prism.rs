//! Prism: a real upstream that answers as a description says.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Folder, files, free_port};

pub struct Prism {
    child: Child,
    pub address: SocketAddr,
    _folder: Folder,
}

impl Prism {
    /// Serves examples for every operation of the description.
    #[track_caller]
    pub fn start(description: &Path) -> Self {
        let program = files::project("tests/node/node_modules/@stoplight/prism-cli/dist/index.js");
        assert!(program.is_file(), "Prism is not installed; `make test` installs what the tests need");
        let folder = Folder::new();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let log = std::fs::File::create(folder.path("log")).unwrap();
        let mut child = Command::new("node")
            .arg(program)
            .args(["mock", "--host", "127.0.0.1", "--port", &address.port().to_string()])
            .arg(description)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}; `make test` installs what the tests need"));
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            let log = || std::fs::read_to_string(folder.path("log")).unwrap_or_default();
            assert!(child.try_wait().unwrap().is_none(), "Prism ended: {}", log());
            assert!(start.elapsed() < Duration::from_secs(60), "Prism does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, address, _folder: folder }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
