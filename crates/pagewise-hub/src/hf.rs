//! The Hugging Face hub, through hf-hub.
//!
//! hf-hub waits long for a host that does not answer, so a connection is tried first, for a few
//! seconds, by hand. The hub's own record of the file (its LFS SHA-256 and size) is read before the
//! file: bytes that the catalog would refuse are not fetched at all.
//!
//! hf-hub's threads cannot be stopped: one whose download was given up may still write, and even
//! make its folder anew, for as long as the process lives. So each attempt has a folder of its own.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClient, HFClientSync};
use jiff::Timestamp;

use crate::error::IoContext;
use crate::source::{Content, Expected, Fetched, Source, SourceOptions};
use crate::spec::file_has_quant;
use crate::{Entry, HubError, ModelSpec, Progress};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// How long a name look-up and a connection may take together.
const PROBE: Duration = Duration::from_secs(3);
/// How long an address may be silent before the next one is tried beside it (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);
/// So many of a host's addresses are tried: with [`STAGGER`] between them each gets its chance
/// within [`PROBE`].
const ADDRESSES_MAX: usize = 8;
/// How long the hub may take to say what a repository has.
const LISTING: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
/// Once bytes have begun to come, so long without one ends the fetch.
const STALL: Duration = Duration::from_secs(60);

/// One file, or the files of a folder, of a repository.
pub(crate) struct HubSource {
    owner: String,
    repo: String,
    revision: Option<String>,
    pick: Pick,
    /// What the catalog says of the SHA-256 of a single file.
    sha256: Option<String>,
    endpoint: String,
    proxy: Option<String>,
}

enum Pick {
    File(String),
    Quant(String),
    Folder(Vec<String>),
}

/// A file as the hub lists it.
struct Listed {
    path: String,
    bytes: u64,
    sha256: Option<String>,
}

impl HubSource {
    /// Returns `None` if neither the spec nor its entry names a repository.
    pub(crate) fn new(
        spec: &ModelSpec,
        entry: Option<&'static Entry>,
        options: &SourceOptions,
    ) -> Option<Self> {
        let endpoint = options.hub_endpoint.clone().unwrap_or_else(|| DEFAULT_ENDPOINT.into());
        let proxy = options.proxy.clone();
        if let Some(entry) = entry {
            let hub = entry.hub.as_ref()?;
            let (owner, repo) = hub.repo.split_once('/')?;
            let pick = match &hub.file {
                Some(file) => Pick::File(file.clone()),
                None => Pick::Folder(entry.files.iter().map(|file| file.path.clone()).collect()),
            };
            let sha256 = entry.sha256.clone().filter(|_| entry.files.is_empty());
            let revision = hub.revision.clone();
            return Some(Self {
                owner: owner.into(),
                repo: repo.into(),
                revision,
                pick,
                sha256,
                endpoint,
                proxy,
            });
        }
        let ModelSpec::Hub { owner, repo, quant } = spec else {
            return None;
        };
        Some(Self {
            owner: owner.clone(),
            repo: repo.clone(),
            revision: None,
            pick: Pick::Quant(quant.clone()),
            sha256: None,
            endpoint,
            proxy,
        })
    }

    fn problem(&self, reason: impl ToString) -> HubError {
        HubError::Hub { repo: format!("{}/{}", self.owner, self.repo), reason: reason.to_string() }
    }

    fn client(&self) -> Result<HFClientSync, HubError> {
        HFClient::builder()
            .endpoint(&self.endpoint)
            .cache_enabled(false)
            .retry_max_attempts(2)
            .build_sync()
            .map_err(|error| self.problem(error))
    }

    fn list(
        &self,
        client: &HFClientSync,
        progress: &dyn Progress,
    ) -> Result<Vec<Listed>, HubError> {
        let repo = client.model(&self.owner, &self.repo);
        let revision = self.revision.clone();
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            let tree = repo.list_tree().maybe_revision(revision).recursive(true).send();
            // The receiver has gone if this took too long.
            let _ = send.send(tree);
        });
        let tree = wait(&receive, LISTING, progress)?
            .ok_or_else(|| self.problem(format!("no answer in {} seconds", LISTING.as_secs())))?
            .map_err(|error| self.problem(error))?;
        let files = tree.into_iter().filter_map(|entry| match entry {
            RepoTreeEntry::File { path, size, lfs, .. } => {
                let (size, sha256) = match lfs {
                    Some(lfs) => (lfs.size.unwrap_or(size), lfs.sha256),
                    None => (size, None),
                };
                Some(Listed { path, bytes: size, sha256 })
            }
            RepoTreeEntry::Directory { .. } => None,
        });
        Ok(files.collect())
    }

    /// Chooses the files to fetch.
    fn choose(&self, listed: Vec<Listed>) -> Result<Vec<Listed>, HubError> {
        let chosen: Vec<Listed> = match &self.pick {
            Pick::File(file) => listed.into_iter().filter(|listed| listed.path == *file).collect(),
            Pick::Folder(files) => {
                listed.into_iter().filter(|listed| files.contains(&listed.path)).collect()
            }
            Pick::Quant(quant) => {
                let ggufs: Vec<String> = listed
                    .iter()
                    .filter(|listed| listed.path.ends_with(".gguf"))
                    .map(|listed| listed.path.clone())
                    .collect();
                let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
                let fits =
                    listed.into_iter().find(|listed| file_has_quant(&name(&listed.path), quant));
                match fits {
                    Some(listed) => vec![listed],
                    None if ggufs.is_empty() => {
                        return Err(self.problem("it has no GGUF files"));
                    }
                    None => {
                        let has = ggufs.join(", ");
                        return Err(
                            self.problem(format!("it has no {quant} in one file; it has {has}"))
                        );
                    }
                }
            }
        };
        let n_wanted = if let Pick::Folder(files) = &self.pick { files.len() } else { 1 };
        if chosen.len() != n_wanted {
            return Err(self.problem("it does not have the file the catalog names"));
        }
        for listed in &chosen {
            if !crate::catalog::is_safe_relative(&listed.path) {
                return Err(self.problem(format!("its file `{}` leaves the folder", listed.path)));
            }
        }
        if let ([listed], Some(expected)) = (chosen.as_slice(), &self.sha256)
            && let Some(found) = &listed.sha256
            && found != expected
        {
            return Err(HubError::WrongSha256 {
                what: format!("{} on the hub", listed.path),
                expected: expected.clone(),
                found: found.clone(),
            });
        }
        Ok(chosen)
    }

    fn download(
        &self,
        client: &HFClientSync,
        listed: &Listed,
        dir: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), HubError> {
        let repo = client.model(&self.owner, &self.repo);
        let (send, receive) = mpsc::channel();
        let handler = Arc::new(Relay { send: Mutex::new(send.clone()) });
        let (file, revision, dir) = (listed.path.clone(), self.revision.clone(), dir.to_owned());
        thread::spawn(move || {
            let result = repo
                .download_file()
                .filename(file)
                .maybe_revision(revision)
                .local_dir(dir)
                .progress(handler)
                .send();
            let result = result.map(|_| ()).map_err(|error| error.to_string());
            // The receiver has gone if the fetch was stopped.
            let _ = send.send(Report::Ended(result));
        });
        let mut done = 0;
        let mut last_byte = Instant::now();
        loop {
            if progress.cancelled() {
                return Err(HubError::Cancelled);
            }
            match receive.recv_timeout(POLL) {
                Ok(Report::Bytes(total)) => {
                    if total > done {
                        progress.advance(total - done);
                        done = total;
                        last_byte = Instant::now();
                    }
                }
                Ok(Report::Ended(result)) => return result.map_err(|error| self.problem(error)),
                Err(RecvTimeoutError::Timeout) if last_byte.elapsed() > STALL => {
                    return Err(
                        self.problem(format!("no byte came for {} seconds", STALL.as_secs()))
                    );
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.problem("the fetch ended without a result"));
                }
            }
        }
    }
}

impl Source for HubSource {
    fn id(&self) -> &'static str {
        "hub"
    }

    fn describe(&self) -> String {
        format!("the hub ({}/{})", self.owner, self.repo)
    }

    fn fetch(&self, dir: &Path, progress: &mut dyn Progress) -> Result<Fetched, HubError> {
        probe(self.proxy.as_deref().unwrap_or(&self.endpoint), progress)?;
        let client = self.client()?;
        let listed = self.list(&client, progress)?;
        let chosen = self.choose(listed)?;
        progress.start(Some(chosen.iter().map(|listed| listed.bytes).sum()));
        let files = attempt_dir(dir)?;
        for listed in &chosen {
            self.download(&client, listed, &files, progress)?;
        }
        progress.finish();
        let origin = format!("{} on the hub", self.describe());
        match chosen.as_slice() {
            [listed] if !matches!(self.pick, Pick::Folder(_)) => {
                let sha256 = listed.sha256.clone().filter(|sha256| crate::hash::is_sha256(sha256));
                let sha256 = sha256.or(self.sha256.clone()).ok_or_else(|| {
                    self.problem(format!("it does not say the SHA-256 of {}", listed.path))
                })?;
                Ok(Fetched {
                    content: Content::File(files.join(&listed.path)),
                    expected: Expected::Sha256(sha256),
                    bytes: Some(listed.bytes),
                    origin: format!("hub: {}/{}/{}", self.owner, self.repo, listed.path),
                })
            }
            _ => Ok(Fetched {
                content: Content::Folder(files),
                expected: Expected::AsFound,
                bytes: None,
                origin,
            }),
        }
    }
}

enum Report {
    Bytes(u64),
    Ended(Result<(), String>),
}

/// Carries hf-hub's progress, which comes on its own threads, to the thread that may speak of it.
struct Relay {
    send: Mutex<mpsc::Sender<Report>>,
}

impl ProgressHandler for Relay {
    fn on_progress(&self, event: &ProgressEvent) {
        let total = match event {
            ProgressEvent::Download(DownloadEvent::Progress { files }) => {
                files.iter().map(|file| file.bytes_completed).max()
            }
            ProgressEvent::Download(DownloadEvent::AggregateProgress {
                bytes_completed, ..
            }) => Some(*bytes_completed),
            _ => None,
        };
        if let (Some(total), Ok(send)) = (total, self.send.lock()) {
            // The receiver has gone if the fetch was stopped.
            let _ = send.send(Report::Bytes(total));
        }
    }
}

/// Waits for a message, at most so long; `None` if it did not come.
fn wait<T>(
    receive: &mpsc::Receiver<T>,
    limit: Duration,
    progress: &dyn Progress,
) -> Result<Option<T>, HubError> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if progress.cancelled() {
            return Err(HubError::Cancelled);
        }
        match receive.recv_timeout(POLL) {
            Ok(message) => return Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
    Ok(None)
}

/// Makes a folder in `dir` that no other attempt, of this or of any other process, ever writes to,
/// and removes those of earlier attempts.
fn attempt_dir(dir: &Path) -> Result<PathBuf, HubError> {
    static N_ATTEMPTS: AtomicU64 = AtomicU64::new(0);
    for earlier in fs::read_dir(dir).context("read", dir)? {
        // A late writer may hinder this. Nothing of it is used, and the next pull tries again.
        let _ = fs::remove_dir_all(earlier.context("read", dir)?.path());
    }
    // The time tells apart two processes of one number, of which a shared disk may have some.
    let name = format!(
        "attempt-{}-{}-{}",
        std::process::id(),
        N_ATTEMPTS.fetch_add(1, Ordering::Relaxed),
        Timestamp::now().as_nanosecond()
    );
    let attempt = dir.join(name);
    crate::store::create_private_dir(&attempt)?;
    Ok(attempt)
}

/// Tries to connect, so that an unreachable hub costs seconds.
fn probe(endpoint: &str, progress: &dyn Progress) -> Result<(), HubError> {
    let address = host_and_port(endpoint);
    let unreachable = |reason: String| HubError::Unreachable { address: address.clone(), reason };
    let (send, receive) = mpsc::channel();
    let target = address.clone();
    let deadline = Instant::now() + PROBE;
    // The name look-up cannot be given a limit, so it is left behind when it takes too long.
    thread::spawn(move || {
        let result = target.to_socket_addrs().and_then(|addresses| {
            let addresses = interleaved(addresses);
            connect_any(&addresses, deadline, |address, limit| {
                TcpStream::connect_timeout(&address, limit).map(drop)
            })
        });
        let _ = send.send(result);
    });
    match wait(&receive, PROBE, progress)? {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) if error.kind() != io::ErrorKind::TimedOut => {
            Err(unreachable(error.to_string()))
        }
        _ => Err(unreachable(format!("no answer in {} seconds", PROBE.as_secs()))),
    }
}

/// Puts addresses of the two families in turn, so that a family without a route costs one
/// [`STAGGER`]; the resolver's favourite stays first.
fn interleaved(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.peekable();
    let first_is_v6 = addresses.peek().is_some_and(SocketAddr::is_ipv6);
    let (of_first, of_other): (Vec<_>, Vec<_>) =
        addresses.partition(|address| address.is_ipv6() == first_is_v6);
    let mut of_other = of_other.into_iter();
    let mut turns = Vec::new();
    for address in of_first {
        turns.push(address);
        turns.extend(of_other.next());
    }
    turns.extend(of_other);
    turns
}

/// Tries addresses in their order, the next one as soon as one has failed or was silent for a
/// [`STAGGER`], while the earlier go on; the first connection ends it.
fn connect_any<F>(addresses: &[SocketAddr], deadline: Instant, connect: F) -> io::Result<()>
where
    F: Fn(SocketAddr, Duration) -> io::Result<()> + Copy + Send + 'static,
{
    let (send, receive) = mpsc::channel();
    let mut waiting = addresses.iter().take(ADDRESSES_MAX).copied().peekable();
    let mut n_under_way = 0;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if let Some(address) = waiting.next() {
            let send = send.clone();
            thread::spawn(move || {
                // The receiver has gone if another address was faster.
                let _ = send.send(connect(address, left));
            });
            n_under_way += 1;
        }
        let patience = if waiting.peek().is_some() { STAGGER.min(left) } else { left };
        match receive.recv_timeout(patience) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => {
                last = error;
                n_under_way -= 1;
            }
            Err(_) => {}
        }
        if n_under_way == 0 && waiting.peek().is_none() {
            return Err(last);
        }
    }
}

/// Reads `host:port` out of an address with or without a scheme.
fn host_and_port(endpoint: &str) -> String {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match (has_port, scheme) {
        (true, _) => host.to_owned(),
        (false, "http") => format!("{host}:80"),
        (false, _) => format!("{host}:443"),
    }
}

#[cfg(test)]
mod tests;
