//! The HNSW graph over the vectors of a tier, and its copy on disk.
//!
//! hnsw_rs panics or ends the process on a dump that is not what it wrote, so a dump is read only if a
//! manifest vouches for it: the SHA-256 of both files, and of the rows that the graph holds. A
//! dump is never overwritten: each gets a new name, the manifest is replaced in one step, and
//! then the files that it no longer names are removed. All of it can be thrown away at any time.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use hnsw_rs::anndists::dist::distances::Distance;
use hnsw_rs::api::AnnT;
use hnsw_rs::hnsw::Hnsw;
use hnsw_rs::hnswio::HnswIo;
use pagewise_core::{for_owner_alone, make_private};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::db::texts::{Tier, to_bytes};

/// The layout of the manifest, and what is assumed of the dump.
const FORMAT: u32 = 1;

/// `m` of the HNSW paper: links per point.
const M: usize = 16;

/// Layers; hnsw_rs dumps no other number.
const MAX_LAYER: usize = 16;

/// `ef_construction` of the HNSW paper.
const EF_CONSTRUCTION: usize = 200;

/// `ef_search` of the HNSW paper.
const EF_SEARCH: usize = 320;

/// No manifest is longer.
const MANIFEST_BYTES_MAX: u64 = 4096;

/// 1 minus the dot product of unit vectors; hnsw_rs asserts that no distance is negative, and
/// rounding makes some products exceed 1.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct UnitDistance;

impl Distance<f32> for UnitDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        (1.0 - dot(a, b)).max(0.0)
    }
}

/// Returns the dot product, summed in lanes so that the compiler can use vector instructions.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (mut a_chunks, mut b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a_chunks.by_ref().zip(b_chunks.by_ref()) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// What a dump is, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    /// hnsw_rs writes numbers as the machine has them.
    platform: String,
    embedder: String,
    dimensions: usize,
    /// The dump's files, without their endings.
    basename: String,
    graph_sha256: String,
    data_sha256: String,
    pub(crate) n_rows: usize,
    pub(crate) last_row: i64,
    rows_sha256: String,
}

/// The digest of a sequence of rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowsDigest(Sha256);

impl RowsDigest {
    /// Adds a row: its number and its vector as stored.
    pub(crate) fn add(&mut self, id: i64, bytes: &[u8]) {
        self.0.update(id.to_le_bytes());
        self.0.update(bytes);
    }

    fn hex(&self) -> String {
        hex(&self.0.clone().finalize())
    }
}

/// A graph in memory.
pub(crate) struct Graph {
    hnsw: Hnsw<'static, f32, UnitDistance>,
    n_rows: usize,
    last_row: i64,
    digest: RowsDigest,
    n_unsaved: usize,
}

impl Graph {
    /// Creates a graph without points.
    pub(crate) fn new(expected_rows: usize) -> Self {
        Self {
            hnsw: Hnsw::new(M, expected_rows, MAX_LAYER, EF_CONSTRUCTION, UnitDistance),
            n_rows: 0,
            last_row: 0,
            digest: RowsDigest::default(),
            n_unsaved: 0,
        }
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub(crate) fn last_row(&self) -> i64 {
        self.last_row
    }

    pub(crate) fn n_unsaved(&self) -> usize {
        self.n_unsaved
    }

    /// Adds a row, whose number must be greater than those before.
    pub(crate) fn insert(&mut self, id: i64, vector: &[f32]) {
        let Ok(data_id) = usize::try_from(id) else { return };
        self.hnsw.insert((vector, data_id));
        self.digest.add(id, &to_bytes(vector));
        self.n_rows += 1;
        self.n_unsaved += 1;
        self.last_row = id;
    }

    /// Returns about the `k` rows nearest to `query` among those that `admits` lets pass, best
    /// first, with their cosine. May find fewer.
    pub(crate) fn search(
        &self,
        query: &[f32],
        k: usize,
        admits: &dyn Fn(i64) -> bool,
    ) -> Vec<(i64, f32)> {
        let filter = |id: &usize| admits(*id as i64);
        self.hnsw
            .search_filter(query, k, EF_SEARCH.max(k), Some(&filter))
            .into_iter()
            .map(|neighbour| (neighbour.d_id as i64, 1.0 - neighbour.distance))
            .collect()
    }
}

/// The copies of a tier's graph on disk.
#[derive(Debug, Clone)]
pub(crate) struct GraphFiles {
    folder: PathBuf,
    tier: Tier,
    embedder: String,
    dimensions: usize,
}

impl GraphFiles {
    pub(crate) fn new(folder: &Path, tier: Tier, embedder: &str, dimensions: usize) -> Self {
        Self { folder: folder.into(), tier, embedder: embedder.into(), dimensions }
    }

    fn manifest_path(&self) -> PathBuf {
        self.folder.join(format!("{}.index.json", self.tier.name()))
    }

    fn dump_paths(&self, basename: &str) -> [PathBuf; 2] {
        ["graph", "data"].map(|ending| self.folder.join(format!("{basename}.hnsw.{ending}")))
    }

    /// Returns the manifest, if there is one that fits this embedder and machine.
    pub(crate) fn manifest(&self) -> Option<Manifest> {
        let mut text = String::new();
        File::open(self.manifest_path())
            .ok()?
            .take(MANIFEST_BYTES_MAX)
            .read_to_string(&mut text)
            .ok()?;
        let manifest: Manifest = serde_json::from_str(&text).ok()?;
        let fits = manifest.format == FORMAT
            && manifest.platform == platform()
            && manifest.embedder == self.embedder
            && manifest.dimensions == self.dimensions
            && self.number(&manifest.basename).is_some();
        fits.then_some(manifest)
    }

    /// The number in a name of ours, `recall-7`; `None` for any other name.
    fn number(&self, basename: &str) -> Option<u64> {
        let digits = basename.strip_prefix(self.tier.name())?.strip_prefix('-')?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    }

    /// Loads the graph that `manifest` describes, if its rows have this digest and its files are as
    /// they were written.
    pub(crate) fn load(&self, manifest: &Manifest, digest: RowsDigest) -> Option<Graph> {
        if digest.hex() != manifest.rows_sha256 {
            return None;
        }
        let expected = [&manifest.graph_sha256, &manifest.data_sha256];
        for (path, expected) in self.dump_paths(&manifest.basename).iter().zip(expected) {
            if file_sha256(path).ok()? != *expected {
                return None;
            }
        }
        // The graph borrows its reader for ever; it is some hundred bytes, and once for a store.
        let reader: &'static mut HnswIo =
            Box::leak(Box::new(HnswIo::new(&self.folder, &manifest.basename)));
        let loaded = catch_unwind(AssertUnwindSafe(move || {
            let reader = reader;
            reader.load_hnsw::<f32, UnitDistance>()
        }));
        let mut hnsw = loaded.ok()?.ok()?;
        // Loading turns this on, which would make later insertions differ from earlier ones.
        hnsw.set_extend_candidates(false);
        (hnsw.get_nb_point() == manifest.n_rows).then(|| Graph {
            hnsw,
            n_rows: manifest.n_rows,
            last_row: manifest.last_row,
            digest,
            n_unsaved: 0,
        })
    }

    /// Writes the graph under a new name, then the manifest, then removes what it replaces.
    pub(crate) fn save(&self, graph: &mut Graph) -> io::Result<()> {
        let number =
            self.dumps()?.iter().filter_map(|name| self.number(name)).max().unwrap_or(0) + 1;
        let wanted = format!("{}-{number}", self.tier.name());
        // hnsw_rs panics if it cannot make its files, so it is tried first.
        for path in self.dump_paths(&wanted) {
            for_owner_alone(fs::OpenOptions::new().write(true).create(true).truncate(true))
                .open(path)?;
        }
        for path in self.dump_paths(&wanted) {
            fs::remove_file(path)?;
        }
        let dumped = catch_unwind(AssertUnwindSafe(|| graph.hnsw.file_dump(&self.folder, &wanted)));
        let basename = match dumped {
            Ok(Ok(basename)) => basename,
            Ok(Err(error)) => return Err(io::Error::other(error)),
            Err(_) => return Err(io::Error::other("the graph could not be written")),
        };
        let [graph_path, data_path] = self.dump_paths(&basename);
        make_private(&graph_path)?;
        make_private(&data_path)?;
        let manifest = Manifest {
            format: FORMAT,
            platform: platform(),
            embedder: self.embedder.clone(),
            dimensions: self.dimensions,
            graph_sha256: file_sha256(&graph_path)?,
            data_sha256: file_sha256(&data_path)?,
            n_rows: graph.n_rows,
            last_row: graph.last_row,
            rows_sha256: graph.digest.hex(),
            basename,
        };
        let unfinished = self.manifest_path().with_extension("part");
        for_owner_alone(fs::OpenOptions::new().write(true).create(true).truncate(true))
            .open(&unfinished)?
            .write_all(&serde_json::to_vec(&manifest)?)?;
        fs::rename(&unfinished, self.manifest_path())?;
        graph.n_unsaved = 0;
        self.remove_dumps_except(&manifest.basename)
    }

    /// Removes all dumps but one; they are what the last save replaced, or what a save left that
    /// did not come to its end.
    fn remove_dumps_except(&self, kept: &str) -> io::Result<()> {
        for name in self.dumps()?.iter().filter(|name| *name != kept) {
            for path in self.dump_paths(name) {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The names of the tier's dumps, whole or not.
    fn dumps(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let basename =
                name.strip_suffix(".hnsw.graph").or_else(|| name.strip_suffix(".hnsw.data"));
            if let Some(basename) = basename.filter(|basename| self.number(basename).is_some()) {
                names.push(basename.to_string());
            }
        }
        Ok(names)
    }
}

fn platform() -> String {
    let order = if cfg!(target_endian = "big") { "big" } else { "little" };
    format!("{order}-endian {} bits", usize::BITS)
}

fn file_sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
