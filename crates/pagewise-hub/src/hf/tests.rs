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

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn the_families_of_addresses_take_turns() {
    for (from, to) in [
        (vec![], vec![]),
        (vec!["1.1.1.1:1"], vec!["1.1.1.1:1"]),
        (vec!["[::1]:1", "[::2]:1", "1.1.1.1:1"], vec!["[::1]:1", "1.1.1.1:1", "[::2]:1"]),
        (vec!["1.1.1.1:1", "[::1]:1", "[::2]:1"], vec!["1.1.1.1:1", "[::1]:1", "[::2]:1"]),
    ] {
        let to: Vec<SocketAddr> = to.into_iter().map(address).collect();
        assert_eq!(interleaved(from.into_iter().map(address)), to);
    }
}

/// Of IPv6 nothing comes back; of IPv4 port 1 is closed.
fn connect_without_ipv6(address: SocketAddr, limit: Duration) -> io::Result<()> {
    if address.is_ipv6() {
        thread::sleep(limit);
        return Err(io::ErrorKind::TimedOut.into());
    }
    if address.port() == 1 { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
}

#[test]
fn a_silent_address_hides_none_that_answers() {
    let check = |addresses: &[&str], limit: Duration| {
        let addresses = interleaved(addresses.iter().map(|text| address(text)));
        let start = Instant::now();
        let result = connect_any(&addresses, start + limit, connect_without_ipv6);
        (result.map_err(|error| error.kind()), start.elapsed())
    };
    let six = ["[::1]:2", "[::2]:2", "[::3]:2", "[::4]:2", "[::5]:2", "[::6]:2", "[::7]:2"];
    let (result, took) = check(&[&six[..], &["1.1.1.1:1", "1.1.1.1:2"]].concat(), PROBE);
    assert_eq!(result, Ok(()));
    assert!(took < PROBE / 2, "{took:?}");
    let (result, took) = check(&six, Duration::from_millis(400));
    assert_eq!(result, Err(io::ErrorKind::TimedOut));
    assert!(took < PROBE, "{took:?}");
    let (result, took) = check(&["1.1.1.1:1", "1.1.1.1:1"], PROBE);
    assert_eq!(result, Err(io::ErrorKind::ConnectionRefused));
    assert!(took < STAGGER, "{took:?}");
    assert_eq!(check(&[], PROBE).0, Err(io::ErrorKind::AddrNotAvailable));
}

/// A hub of one repository, on this machine.
struct FakeHub {
    endpoint: String,
}

const FILE: &[u8] = b"GGUF and the rest of the weights";

impl FakeHub {
    /// Lists `Tiny-Q4_0.gguf` with this SHA-256, and sends [`FILE`] for it.
    fn start(sha256: &str) -> Self {
        Self::start_with(sha256, None)
    }

    /// The same; the first download stalls in its middle, and ends with other bytes when `late`
    /// says so.
    fn start_with(sha256: &str, late: Option<Late>) -> Self {
        let late = Arc::new(Mutex::new(late));
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
                let (tree, late) = (tree.clone(), late.clone());
                thread::spawn(move || answer(stream.unwrap(), &tree, &late));
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

/// When a stalled download goes on, and when it has ended.
struct Late {
    go_on: mpsc::Receiver<()>,
    ended: mpsc::Sender<()>,
}

fn answer(stream: TcpStream, tree: &str, late: &Mutex<Option<Late>>) {
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
        let is_download = method == "GET" && body == FILE;
        let late = is_download.then(|| late.lock().unwrap().take()).flatten();
        if let Some(late) = late {
            let (half, rest) = FILE.split_at(FILE.len() / 2);
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(half)).unwrap();
            late.go_on.recv().unwrap();
            stream.write_all(&vec![b'X'; rest.len()]).unwrap();
            late.ended.send(()).unwrap();
            continue;
        }
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

/// Stops as soon as a byte has come.
struct StopsAtOnce(bool);

impl Progress for StopsAtOnce {
    fn advance(&mut self, _: u64) {
        self.0 = true;
    }
    fn cancelled(&self) -> bool {
        self.0
    }
}

#[test]
fn a_late_writer_does_not_touch_what_the_next_attempt_fetched() {
    let (send_go_on, go_on) = mpsc::channel();
    let (ended, receive_ended) = mpsc::channel();
    let hub = FakeHub::start_with(&file_sha256(), Some(Late { go_on, ended }));
    let options = SourceOptions {
        network: true,
        hub_endpoint: Some(hub.endpoint.clone()),
        ..SourceOptions::default()
    };
    let spec = ModelSpec::parse("o/Tiny-GGUF:Q4_0").unwrap();
    let source = HubSource::new(&spec, None, &options).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let stopped = source.fetch(dir.path(), &mut StopsAtOnce(false));
    assert!(matches!(stopped, Err(HubError::Cancelled)), "{stopped:?}");
    let fetched = source.fetch(dir.path(), &mut NoProgress).unwrap();
    let Content::File(file) = fetched.content else { panic!("{:?}", fetched.content) };
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the first attempt is still there");
    send_go_on.send(()).unwrap();
    receive_ended.recv().unwrap();
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(50));
        assert_eq!(fs::read(&file).unwrap(), FILE);
    }
}

#[test]
fn no_two_attempts_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = attempt_dir(dir.path()).unwrap();
    fs::write(first.join("half"), FILE).unwrap();
    let second = attempt_dir(dir.path()).unwrap();
    assert_ne!(first, second);
    assert!(!first.exists() && second.exists());
}

#[test]
fn a_listed_path_that_leaves_the_folder_is_refused() {
    let spec = ModelSpec::parse("o/Tiny-GGUF:Q4_0").unwrap();
    let source = HubSource::new(&spec, None, &SourceOptions::default()).unwrap();
    for (path, is_right) in [
        ("Tiny-Q4_0.gguf", true),
        ("sub/Tiny-Q4_0.gguf", true),
        ("../Tiny-Q4_0.gguf", false),
        ("/Tiny-Q4_0.gguf", false),
        ("sub/../../Tiny-Q4_0.gguf", false),
        ("..\\x/Tiny-Q4_0.gguf", false),
    ] {
        let listed = Listed { path: path.into(), bytes: 1, sha256: None };
        assert_eq!(source.choose(vec![listed]).is_ok(), is_right, "{path}");
    }
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
