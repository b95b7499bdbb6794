//! One agent's memory, and the only door to it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use pagewise_core::{EmbedError, Embedder, Message, MessageBody, MessageId};
use serde::{Deserialize, Serialize};

use crate::chunk::{DocumentFormat, chunk};
use crate::db::Db;
use crate::db::check::{CheckReport, TierReport};
use crate::db::rows::{Block, BlockVersion, Document, Inserted, NewPassage, Passage, QueueState};
use crate::db::texts::Tier;
use crate::lock::{FolderLock, make_folder};
use crate::query_words::{QueryWords, holds_identifier};
use crate::ranking::{
    ArchivalHit, ArchivalQuery, Page, Ranked, RecallHit, RecallQuery, SearchMode, fuse, order,
};
use crate::vector_index::{VectorIndex, make_unit};
use crate::{StoreError, WorkingContext};

/// The longest passage of a document, in characters: about what the usual embedders read.
pub const PASSAGE_CHARS_MAX: usize = 800;

/// Texts embedded, and their vectors stored, at a time.
const EMBED_BATCH: usize = 32;

/// The most hits by meaning alone.
const MEANING_HITS_MAX: usize = 100;

/// The cosine above which a text is near in meaning: unrelated sentences seldom reach it.
const MEANING_FLOOR: f64 = 0.1;

/// The most texts read to see whether they hold an identifier.
const IDENTIFIER_TEXTS_MAX: usize = 1000;

/// How the store works inside; the defaults suit everyone but tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// Up to so many vectors a tier is scanned exactly; above, it gets a graph. At 20,000
    /// vectors of 384 numbers the scan is still the faster one (`benches/search.rs`).
    pub graph_threshold: usize,
    /// How many vectors a search moves into a graph that is not complete.
    pub graph_rows_per_search: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { graph_threshold: 50_000, graph_rows_per_search: 200 }
    }
}

/// One agent's memory. While it is open no other process can open it.
pub struct Store {
    db: Db,
    embedder: Arc<dyn Embedder>,
    options: StoreOptions,
    recall: Embedded,
    archival: Embedded,
    // Last, so that the folder is free only when the files are closed.
    _lock: FolderLock,
}

/// A tier's vectors.
struct Embedded {
    index: VectorIndex,
    /// Every text up to this number has a vector.
    embedded_up_to: i64,
}

/// Everything in a store, for people and other programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// The layout of this.
    pub format: u32,
    /// All messages in order.
    pub messages: Vec<Message>,
    /// What is in view, and the recursive summary.
    pub queue: QueueState,
    /// All versions of all blocks in order; the last one of each label stands.
    pub blocks: Vec<BlockVersion>,
    /// All passages in order.
    pub passages: Vec<Passage>,
}

/// What putting in a document did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IngestReport {
    /// The passages that the document has; a text that it has twice is one passage.
    pub n_passages: usize,
    /// Those that were not there yet.
    pub n_new: usize,
    /// Those that were there.
    pub n_existing: usize,
}

/// Changes that happen together or not at all.
pub struct Transaction<'a> {
    db: &'a Db,
}

impl Transaction<'_> {
    /// Adds a message to recall storage.
    pub fn append(&mut self, at: Timestamp, body: MessageBody) -> Result<Message, StoreError> {
        self.db.append_message(at, body)
    }

    /// Saves what the FIFO queue is now.
    pub fn set_queue(&mut self, state: &QueueState) -> Result<(), StoreError> {
        self.db.set_queue(state)
    }

    /// Saves a block of working context. Its earlier versions are kept.
    pub fn save_block(
        &mut self,
        block: &Block,
        at: Timestamp,
        cause: Option<MessageId>,
    ) -> Result<(), StoreError> {
        self.db.save_block(block, at, cause)
    }

    /// Puts a passage into archival storage, unless the same text from the same source is there.
    pub fn insert_passage(&mut self, passage: &NewPassage) -> Result<Inserted, StoreError> {
        self.db.insert_passage(passage)
    }
}

impl Store {
    /// Opens the memory in `folder`, which is made if it is not there.
    pub fn open(folder: &Path, embedder: Arc<dyn Embedder>) -> Result<Self, StoreError> {
        Self::open_with(folder, embedder, StoreOptions::default())
    }

    /// Opens the memory in `folder` with other options.
    pub fn open_with(
        folder: &Path,
        embedder: Arc<dyn Embedder>,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        make_folder(folder)?;
        let lock = FolderLock::take(folder)?;
        let db = Db::open(folder)?;
        let embedded = |tier| Embedded {
            index: VectorIndex::new(
                folder,
                tier,
                embedder.id(),
                embedder.dimensions(),
                options.graph_threshold,
            ),
            embedded_up_to: 0,
        };
        let (recall, archival) = (embedded(Tier::Recall), embedded(Tier::Archival));
        Ok(Self { db, embedder, options, recall, archival, _lock: lock })
    }

    /// Does all of `f` or nothing: what it wrote is durable when this returns, or undone if it
    /// returned an error.
    pub fn transact<T>(
        &mut self,
        f: impl FnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = self.db.begin()?;
        let value = f(&mut Transaction { db: &self.db })?;
        self.db.commit(transaction)?;
        Ok(value)
    }

    /// Returns what the FIFO queue was when it was last saved.
    pub fn queue(&self) -> Result<QueueState, StoreError> {
        self.db.queue()
    }

    /// Returns all messages from number `first` on, in order.
    pub fn messages_from(&self, first: MessageId) -> Result<Vec<Message>, StoreError> {
        self.db.messages_from(first)
    }

    /// Returns how many messages recall storage has.
    pub fn n_messages(&self) -> Result<u64, StoreError> {
        self.db.count("messages")
    }

    /// Returns how many passages archival storage has.
    pub fn n_passages(&self) -> Result<u64, StoreError> {
        self.db.count("passages")
    }

    /// Returns when the last message was stored.
    pub fn last_message_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.db.last_message_at()
    }

    /// Returns working context as it was last saved.
    pub fn working_context(&self) -> Result<WorkingContext, StoreError> {
        Ok(WorkingContext::new(self.db.blocks()?))
    }

    /// Returns every version of every block, in the order in which they were saved.
    pub fn block_history(&self) -> Result<Vec<BlockVersion>, StoreError> {
        self.db.block_history()
    }

    /// Returns the documents in archival storage, in the order in which they were first put in.
    pub fn documents(&self) -> Result<Vec<Document>, StoreError> {
        self.db.documents()
    }

    /// Returns everything.
    pub fn export(&self) -> Result<Export, StoreError> {
        Ok(Export {
            format: 1,
            messages: self.db.messages_from(MessageId(i64::MIN))?,
            queue: self.db.queue()?,
            blocks: self.db.block_history()?,
            passages: self.db.passages()?,
        })
    }

    /// Searches what was said. Messages that have no vector yet are embedded first, unless the
    /// search is by words alone.
    pub fn recall_search(&mut self, query: &RecallQuery) -> Result<Page<RecallHit>, StoreError> {
        let scope = self.db.recall_scope(query)?;
        let words = query.words.as_deref().unwrap_or_default();
        let all = self.rank(Tier::Recall, words, &scope, query.mode)?;
        Page::cut(&all, query.page, query.page_size).try_map(|(id, score)| {
            let message = self.db.message(id)?;
            let spoken = message.body.spoken().unwrap_or_default().to_string();
            Ok(RecallHit { message, spoken, score })
        })
    }

    /// Searches archival storage. Passages that have no vector yet are embedded first, unless the
    /// search is by words alone.
    pub fn archival_search(
        &mut self,
        query: &ArchivalQuery,
    ) -> Result<Page<ArchivalHit>, StoreError> {
        let scope = self.db.archival_scope(query)?;
        let all = self.rank(Tier::Archival, &query.words, &scope, query.mode)?;
        Page::cut(&all, query.page, query.page_size)
            .try_map(|(id, score)| Ok(ArchivalHit { passage: self.db.passage(id)?, score }))
    }

    /// Returns all hits in `scope` (ascending), best first.
    fn rank(
        &mut self,
        tier: Tier,
        words: &str,
        scope: &[i64],
        mode: SearchMode,
    ) -> Result<Vec<Ranked>, StoreError> {
        if words.trim().is_empty() {
            return Ok(scope.iter().rev().map(|id| (*id, 0.0)).collect());
        }
        let mut first = HashSet::new();
        let mut by_words = Vec::new();
        if mode != SearchMode::Meaning {
            let query = QueryWords::read(words);
            if let Some(any) = &query.any {
                by_words = self.db.match_words(tier, any)?;
                by_words.retain(|(id, _)| scope.binary_search(id).is_ok());
            }
            first = self.holders(tier, &query.identifiers, scope)?;
        }
        let mut hits = match mode {
            SearchMode::Words => by_words,
            SearchMode::Meaning => self.nearest(tier, words, scope)?,
            SearchMode::Fused => fuse(&by_words, &self.nearest(tier, words, scope)?),
        };
        order(&mut hits, &first);
        Ok(hits)
    }

    /// Returns the texts that hold one of the identifiers whole.
    fn holders(
        &self,
        tier: Tier,
        identifiers: &[String],
        scope: &[i64],
    ) -> Result<HashSet<i64>, StoreError> {
        let mut holders = HashSet::new();
        for identifier in identifiers {
            let mut hits = self.db.match_words(tier, &QueryWords::for_identifier(identifier))?;
            hits.retain(|(id, _)| scope.binary_search(id).is_ok());
            for (id, _) in hits.into_iter().take(IDENTIFIER_TEXTS_MAX) {
                if holds_identifier(&self.db.text(tier, id)?, identifier) {
                    holders.insert(id);
                }
            }
        }
        Ok(holders)
    }

    /// Returns what is nearest in meaning, best first.
    fn nearest(
        &mut self,
        tier: Tier,
        words: &str,
        scope: &[i64],
    ) -> Result<Vec<Ranked>, StoreError> {
        self.embed_tier(tier, usize::MAX, &mut |_| {})?;
        let query = embed(&*self.embedder, &[words])?.swap_remove(0);
        let rows_per_search = self.options.graph_rows_per_search;
        let (db, embedded) = self.tier(tier);
        embedded.index.load(db)?;
        embedded.index.catch_up(rows_per_search);
        let mut hits = embedded.index.search(db, &query, MEANING_HITS_MAX, scope)?;
        hits.retain(|(_, cosine)| *cosine > MEANING_FLOOR);
        Ok(hits)
    }

    /// Embeds up to `max` texts that have no vector of this store's embedder, oldest first, and
    /// returns how many.
    pub fn embed_pending(&mut self, max: usize) -> Result<usize, StoreError> {
        let n = self.embed_tier(Tier::Recall, max, &mut |_| {})?;
        Ok(n + self.embed_tier(Tier::Archival, max - n, &mut |_| {})?)
    }

    fn embed_tier(
        &mut self,
        tier: Tier,
        max: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<usize, StoreError> {
        let embedder = self.embedder.clone();
        let (db, embedded) = self.tier(tier);
        let mut n_done = 0;
        while n_done < max {
            let last = db.last_text_id(tier)?;
            if last <= embedded.embedded_up_to {
                break;
            }
            let batch = db.pending(
                tier,
                embedder.id(),
                embedder.dimensions(),
                embedded.embedded_up_to,
                EMBED_BATCH.min(max - n_done),
            )?;
            if batch.is_empty() {
                embedded.embedded_up_to = last;
                break;
            }
            let texts: Vec<&str> = batch.iter().map(|pending| pending.text.as_str()).collect();
            let vectors = embed(&*embedder, &texts)?;
            let rows: Vec<(i64, Vec<f32>)> =
                batch.iter().map(|pending| pending.id).zip(vectors).collect();
            db.put_vectors(tier, embedder.id(), &rows)?;
            for (id, vector) in &rows {
                embedded.index.push(*id, vector);
                embedded.embedded_up_to = *id;
            }
            // Embedding takes far longer, so the graph keeps up and catches up.
            embedded.index.catch_up(2 * rows.len());
            n_done += rows.len();
            progress(n_done);
        }
        Ok(n_done)
    }

    fn tier(&mut self, tier: Tier) -> (&Db, &mut Embedded) {
        let embedded = match tier {
            Tier::Recall => &mut self.recall,
            Tier::Archival => &mut self.archival,
        };
        (&self.db, embedded)
    }

    /// Puts a document into archival storage: cut into passages, all in one transaction, then
    /// embedded. `progress` gets how many passages are embedded, of how many.
    ///
    /// Passages that are there already, from a document of the same name, stay as they are; an
    /// upload that was interrupted is completed by the next one.
    pub fn ingest(
        &mut self,
        name: &str,
        text: &str,
        format: DocumentFormat,
        at: Timestamp,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<IngestReport, StoreError> {
        let chunks = chunk(text, format, PASSAGE_CHARS_MAX);
        let (mut new, mut all) = (HashSet::new(), HashSet::new());
        self.transact(|transaction| {
            for text in chunks {
                let passage = NewPassage { text, tags: Vec::new(), source: Some(name.into()), at };
                let inserted = transaction.insert_passage(&passage)?;
                all.insert(inserted.id());
                if let Inserted::New(id) = inserted {
                    new.insert(id);
                }
            }
            if !new.is_empty() {
                let n_passages = all.len();
                transaction
                    .append(at, MessageBody::DocumentUploaded { name: name.into(), n_passages })?;
            }
            Ok(())
        })?;
        let n_pending = self.db.n_pending(
            Tier::Archival,
            self.embedder.id(),
            self.embedder.dimensions(),
            self.archival.embedded_up_to,
        )?;
        progress(0, n_pending);
        self.embed_tier(Tier::Archival, usize::MAX, &mut |done| progress(done, n_pending))?;
        let (n_passages, n_new) = (all.len(), new.len());
        Ok(IngestReport { n_passages, n_new, n_existing: n_passages - n_new })
    }

    /// Looks for damage: pages, references, full-text indexes, vector indexes. Completes an
    /// index that is not complete.
    pub fn check(&mut self) -> Result<CheckReport, StoreError> {
        Ok(CheckReport {
            problems: self.db.problems()?,
            n_messages: self.n_messages()?,
            n_passages: self.n_passages()?,
            recall: self.check_tier(Tier::Recall)?,
            archival: self.check_tier(Tier::Archival)?,
        })
    }

    fn check_tier(&mut self, tier: Tier) -> Result<TierReport, StoreError> {
        let (id, dimensions) = (self.embedder.id().to_string(), self.embedder.dimensions());
        let (db, embedded) = self.tier(tier);
        embedded.index.load(db)?;
        embedded.index.catch_up(usize::MAX);
        embedded.index.save();
        Ok(TierReport {
            n_texts: db.n_texts(tier)?,
            n_pending: db.n_pending(tier, &id, dimensions, 0)? as u64,
            index: embedded.index.state(),
        })
    }

    /// Makes the full-text indexes anew from the texts, for a store whose check found them to differ.
    pub fn rebuild_words(&mut self) -> Result<(), StoreError> {
        self.db.rebuild_words()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.recall.index.save();
        self.archival.index.save();
    }
}

/// Embeds texts, and holds the embedder to what it promises.
fn embed(embedder: &dyn Embedder, texts: &[&str]) -> Result<Vec<Vec<f32>>, StoreError> {
    let mut vectors = embedder.embed(texts)?;
    if vectors.len() != texts.len()
        || vectors.iter().any(|vector| vector.len() != embedder.dimensions())
    {
        return Err(EmbedError(format!(
            "{} did not return one vector of {} numbers for each text",
            embedder.id(),
            embedder.dimensions()
        ))
        .into());
    }
    vectors.iter_mut().for_each(|vector| make_unit(vector));
    Ok(vectors)
}
