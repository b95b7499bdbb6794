use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use super::*;
use crate::hash::hash_file;
use crate::{NoProgress, Store, pull, sources};

#[test]
fn an_address_is_read_with_and_without_port() {
    assert_eq!(host_and_port("https://huggingface.co"), "huggingface.co:443");
    assert_eq!(host_and_port("http://u:p@proxy:3128/"), "proxy:3128");
    assert_eq!(host_and_port("[::1]:8080"), "[::1]:8080");
}

#[test]
fn a_closed_port_is_said_to_be_unreachable_at_once() {
    let start = Instant::now();
    let error = probe("http://127.0.0.1:1", &NoProgress).unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    assert!(start.elapsed() < PROBE);
}

/// A hub of one repository, on this machine.
struct FakeHub {
    endpoint: String,
}

const FILE: &[u8] = b"GGUF and the rest of the weights";

impl FakeHub {
    /// Lists `Tiny-Q4_0.gguf` with this SHA-256, and sends [`FILE`] for it.
    fn start(sha256: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let tree = format!(
            r#"[{{"type":"directory","oid":"1","path":"sub"}},
                {{"type":"file","oid":"2","size":5,"path":"README.md"}},
                {{"type":"file","oid":"3","size":{size},"path":"Tiny-Q4_0.gguf",
                  "lfs":{{"oid":"{sha256}","sha256":"{sha256}","size":{size},"pointerSize":134}}}}]"#,
            size = FILE.len()
        );
        thread::spawn(move || {
            for stream in listener.incoming() {
                let tree = tree.clone();
                thread::spawn(move || answer(stream.unwrap(), &tree));
            }
        });
        Self { endpoint }
    }

    fn pull(&self, spec: &str) -> Result<Vec<u8>, HubError> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("models"));
        let options = SourceOptions {
            network: true,
            hub_endpoint: Some(self.endpoint.clone()),
            ..SourceOptions::default()
        };
        let (wanted, sources) = sources(&ModelSpec::parse(spec).unwrap(), &options).unwrap();
        let result = pull(&store, &wanted, &sources, &mut NoProgress);
        if result.is_err() {
            assert!(store.list().unwrap().is_empty());
            assert!(!store.dir().join(".partial").exists());
        }
        result.map(|stored| std::fs::read(stored.path).unwrap())
    }
}

fn answer(stream: TcpStream, tree: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut header = String::from("x");
        while !header.trim().is_empty() {
            header.clear();
            if reader.read_line(&mut header).unwrap_or(0) == 0 {
                return;
            }
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let (status, body): (&str, &[u8]) = if path.starts_with("/api/models/o/Tiny-GGUF/tree/main")
        {
            ("200 OK", tree.as_bytes())
        } else if path == "/o/Tiny-GGUF/resolve/main/Tiny-Q4_0.gguf" {
            ("200 OK", FILE)
        } else {
            ("404 Not Found", b"")
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nETag: \"e\"\r\n\
             X-Repo-Commit: 0123456789abcdef0123456789abcdef01234567\r\n\r\n",
            body.len()
        );
        let mut stream = &stream;
        let body = if method == "HEAD" { &[] } else { body };
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_err() {
            return;
        }
    }
}

fn file_sha256() -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, FILE).unwrap();
    hash_file(&path, &mut NoProgress).unwrap().sha256
}

#[test]
fn a_file_is_chosen_by_its_quantisation_fetched_and_verified() {
    let hub = FakeHub::start(&file_sha256());
    assert_eq!(hub.pull("o/Tiny-GGUF:q4_0").unwrap(), FILE);
}

#[test]
fn bytes_that_are_not_what_the_hub_promised_are_refused() {
    let hub = FakeHub::start(&"0".repeat(64));
    let error = hub.pull("o/Tiny-GGUF:Q4_0").unwrap_err();
    assert!(matches!(error, HubError::WrongSha256 { .. }), "{error}");
}

#[test]
fn a_quantisation_that_is_not_there_names_those_that_are() {
    let hub = FakeHub::start(&file_sha256());
    let error = hub.pull("o/Tiny-GGUF:Q8_0").unwrap_err().to_string();
    assert!(error.contains("Tiny-Q4_0.gguf"), "{error}");
}

#[test]
fn a_repository_that_is_not_there_is_an_error_of_the_hub() {
    let hub = FakeHub::start(&file_sha256());
    let error = hub.pull("o/Nothing-GGUF:Q4_0").unwrap_err();
    assert!(matches!(error, HubError::Hub { .. }), "{error}");
}
