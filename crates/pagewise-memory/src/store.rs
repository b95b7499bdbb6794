//! One agent's memory, and the only door to it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use pagewise_core::{Embedder, Message, MessageBody, MessageId, Purpose};
use serde::Serialize;

use crate::chunk::{DocumentFormat, chunk};
use crate::db::Db;
use crate::db::check::{CheckReport, TierReport};
use crate::db::rows::{Block, BlockVersion, Document, Inserted, NewPassage, QueueState};
use crate::db::texts::{SearchedSet, Tier, VectorSet};
use crate::export::{Export, FORMAT, ImportError};
use crate::lock::{FolderLock, make_folder};
use crate::query_words::{QueryWords, holds_identifier};
use crate::ranking::{
    ArchivalHit, ArchivalQuery, Page, Ranked, RecallHit, RecallQuery, SearchMode, fuse, order,
};
use crate::reembedding::{Change, EmbedderChange, Thread, embed, embed_some, lock};
use crate::vector_index::VectorIndex;
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
    /// Shared with the thread that embeds everything anew, if there is one.
    db: Arc<Mutex<Db>>,
    folder: PathBuf,
    /// The embedder that was asked for.
    embedder: Arc<dyn Embedder>,
    /// The one that made the vectors that are searched; `None` while that one is not there.
    searcher: Option<Arc<dyn Embedder>>,
    /// The vectors that are searched.
    searched: VectorSet,
    /// Whether the database says so.
    is_searched_noted: bool,
    change: Option<Change>,
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

impl Embedded {
    fn new(folder: &Path, tier: Tier, set: &VectorSet, options: StoreOptions) -> Self {
        let index = VectorIndex::new(folder, tier, set, options.graph_threshold);
        Self { index, embedded_up_to: 0 }
    }
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
        let folder_lock = FolderLock::take(folder)?;
        let db = Db::open(folder)?;
        let wanted = VectorSet {
            embedder: embedder.id().into(),
            dimensions: embedder.dimensions(),
            is_second: false,
        };
        let mut noted = db.searched_set()?;
        // Vectors that there are none of need not be kept.
        if let Some(SearchedSet { set, .. }) = &noted
            && db.is_empty_set(set)?
        {
            noted = None;
        }
        let is_none = embedder.dimensions() == 0;
        let is_searched_noted = noted.is_some();
        let (searched, change) = match noted {
            None => (wanted, None),
            Some(SearchedSet { set, .. }) if is_none => (set, None),
            Some(SearchedSet { set, folder }) if set.is_of(&*embedder) => {
                if folder.as_deref() != embedder.folder() {
                    db.set_searched(&set, embedder.folder())?;
                }
                (set, None)
            }
            Some(SearchedSet { set, folder: from_folder }) => {
                let to = VectorSet { is_second: !set.is_second, ..wanted };
                (set, Some(Change { to, from_folder, thread: None, problem: None }))
            }
        };
        let searcher = (change.is_none() && !is_none).then(|| embedder.clone());
        let [recall, archival] = [Tier::Recall, Tier::Archival]
            .map(|tier| Embedded::new(folder, tier, &searched, options));
        Ok(Self {
            db: Arc::new(Mutex::new(db)),
            folder: folder.to_owned(),
            embedder,
            searcher,
            searched,
            is_searched_noted,
            change,
            options,
            recall,
            archival,
            _lock: folder_lock,
        })
    }

    fn db(&self) -> MutexGuard<'_, Db> {
        lock(&self.db)
    }

    /// Does all of `f` or nothing: what it wrote is durable when this returns, or undone if it
    /// returned an error.
    pub fn transact<T>(
        &mut self,
        f: impl FnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let db = self.db();
        let transaction = db.begin()?;
        let value = f(&mut Transaction { db: &db })?;
        db.commit(transaction)?;
        Ok(value)
    }

    /// Returns what the FIFO queue was when it was last saved.
    pub fn queue(&self) -> Result<QueueState, StoreError> {
        self.db().queue()
    }

    /// Returns all messages from number `first` on, in order.
    pub fn messages_from(&self, first: MessageId) -> Result<Vec<Message>, StoreError> {
        self.db().messages_from(first)
    }

    /// Returns the message with this number, if there is one.
    pub fn message(&self, id: MessageId) -> Result<Option<Message>, StoreError> {
        self.db().find_message(id)
    }

    /// Returns how many messages recall storage has.
    pub fn n_messages(&self) -> Result<u64, StoreError> {
        self.db().count("messages")
    }

    /// Returns how many passages archival storage has.
    pub fn n_passages(&self) -> Result<u64, StoreError> {
        self.db().count("passages")
    }

    /// Returns when the last message was stored.
    pub fn last_message_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.db().last_message_at()
    }

    /// Returns working context as it was last saved.
    pub fn working_context(&self) -> Result<WorkingContext, StoreError> {
        Ok(WorkingContext::new(self.db().blocks()?))
    }

    /// Returns every version of every block, in the order in which they were saved.
    pub fn block_history(&self) -> Result<Vec<BlockVersion>, StoreError> {
        self.db().block_history()
    }

    /// Returns the documents in archival storage, in the order in which they were first put in.
    pub fn documents(&self) -> Result<Vec<Document>, StoreError> {
        self.db().documents()
    }

    /// Returns everything.
    pub fn export(&self) -> Result<Export, StoreError> {
        let db = self.db();
        Ok(Export {
            format: FORMAT,
            messages: db.messages_from(MessageId(i64::MIN))?,
            queue: db.queue()?,
            blocks: db.block_history()?,
            passages: db.passages()?,
        })
    }

    /// Puts everything that another store has exported into this one, which must be empty, in one
    /// transaction. [`export`](Self::export) returns the same then.
    ///
    /// Vectors are no part of an export: they are made when something is next searched by meaning.
    pub fn import(&mut self, export: &Export) -> Result<(), ImportError> {
        export.check()?;
        let db = self.db();
        let transaction = db.begin()?;
        let n_messages = db.count("messages")?;
        let n_versions = db.count("block_versions")?;
        let n_passages = db.count("passages")?;
        if n_messages + n_versions + n_passages > 0 {
            return Err(ImportError::NotEmpty { n_messages, n_versions, n_passages });
        }
        // Messages first: the versions of blocks refer to them.
        export.messages.iter().try_for_each(|message| db.restore_message(message))?;
        db.set_queue(&export.queue)?;
        for BlockVersion { block, at, cause } in &export.blocks {
            db.save_block(block, *at, *cause)?;
        }
        export.passages.iter().try_for_each(|passage| db.restore_passage(passage))?;
        db.commit(transaction)?;
        Ok(())
    }

    /// Searches what was said. Messages that have no vector yet are embedded first, unless the
    /// search is by words alone.
    pub fn recall_search(&mut self, query: &RecallQuery) -> Result<Page<RecallHit>, StoreError> {
        let scope = self.db().recall_scope(query)?;
        let words = query.words.as_deref().unwrap_or_default();
        let mut all = self.rank(Tier::Recall, words, &scope, query.mode)?;
        if words.trim().is_empty() && (query.from.is_some() || query.to.is_some()) {
            all.reverse();
        }
        Page::cut(&all, query.page, query.page_size).try_map(|(id, score)| {
            let message = self.db().message(id)?;
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
        let scope = self.db().archival_scope(query)?;
        let all = self.rank(Tier::Archival, &query.words, &scope, query.mode)?;
        Page::cut(&all, query.page, query.page_size)
            .try_map(|(id, score)| Ok(ArchivalHit { passage: self.db().passage(id)?, score }))
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
        if matches!(mode, SearchMode::Words | SearchMode::Fused) {
            let query = QueryWords::read(words);
            if let Some(any) = &query.any {
                by_words = self.db().match_words(tier, any)?;
                by_words.retain(|(id, _)| scope.binary_search(id).is_ok());
            }
            first = self.holders(tier, &query.identifiers, scope)?;
        }
        let mut hits = match mode {
            SearchMode::Words => by_words,
            SearchMode::Meaning => self.nearest(tier, words, scope)?,
            SearchMode::Fused => fuse(&by_words, &self.nearest(tier, words, scope)?),
            SearchMode::Substring => self.db().match_substring(tier, words, scope)?,
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
            let mut hits = self.db().match_words(tier, &QueryWords::for_identifier(identifier))?;
            hits.retain(|(id, _)| scope.binary_search(id).is_ok());
            for (id, _) in hits.into_iter().take(IDENTIFIER_TEXTS_MAX) {
                if holds_identifier(&self.db().text(tier, id)?, identifier) {
                    holders.insert(id);
                }
            }
        }
        Ok(holders)
    }

    /// Returns what is nearest in meaning, best first; nothing while the embedder changes and the
    /// old one is not there.
    fn nearest(
        &mut self,
        tier: Tier,
        words: &str,
        scope: &[i64],
    ) -> Result<Vec<Ranked>, StoreError> {
        self.settle_change()?;
        if self.searcher.is_none() && self.change.is_some() {
            return Ok(Vec::new());
        }
        self.embed_tier(tier, usize::MAX, &mut |_| {})?;
        // Without any embedder, this one says so.
        let searcher = self.searcher.as_ref().unwrap_or(&self.embedder);
        let query = embed(&**searcher, &[words], Purpose::Query)?.swap_remove(0);
        let rows_per_search = self.options.graph_rows_per_search;
        let (db, embedded) = self.tier(tier);
        embedded.index.load(&db)?;
        embedded.index.catch_up(rows_per_search);
        let mut hits = embedded.index.search(&db, &query, MEANING_HITS_MAX, scope)?;
        hits.retain(|(_, cosine)| *cosine > MEANING_FLOOR);
        Ok(hits)
    }

    /// Embeds up to `max` texts that have no vector of the embedder that the store was opened with,
    /// oldest first, and returns how many. With the last one, a change of the embedder is over.
    pub fn embed_pending(&mut self, max: usize) -> Result<usize, StoreError> {
        if self.change.is_some() {
            return self.embed_anew(max, &mut |_| {});
        }
        let n = self.embed_tier(Tier::Recall, max, &mut |_| {})?;
        Ok(n + self.embed_tier(Tier::Archival, max - n, &mut |_| {})?)
    }

    /// Embeds texts of a tier that have no vector among those that are searched.
    fn embed_tier(
        &mut self,
        tier: Tier,
        max: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<usize, StoreError> {
        let searcher = self.searcher.as_ref().unwrap_or(&self.embedder).clone();
        let mut n_done = 0;
        while n_done < max {
            let last = self.db().last_text_id(tier)?;
            let after = self.embedded(tier).embedded_up_to;
            if last <= after {
                break;
            }
            self.note_searched()?;
            let n = EMBED_BATCH.min(max - n_done);
            let rows = embed_some(&self.db, &*searcher, tier, &self.searched, after, n)?;
            let embedded = self.embedded(tier);
            if rows.is_empty() {
                embedded.embedded_up_to = last;
                break;
            }
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

    /// Says in the database whose vectors are searched, before the first of them is stored.
    fn note_searched(&mut self) -> Result<(), StoreError> {
        if !self.is_searched_noted && self.embedder.dimensions() > 0 {
            self.db().set_searched(&self.searched, self.embedder.folder())?;
            self.is_searched_noted = true;
        }
        Ok(())
    }

    fn embedded(&mut self, tier: Tier) -> &mut Embedded {
        match tier {
            Tier::Recall => &mut self.recall,
            Tier::Archival => &mut self.archival,
        }
    }

    fn tier(&mut self, tier: Tier) -> (MutexGuard<'_, Db>, &mut Embedded) {
        let embedded = match tier {
            Tier::Recall => &mut self.recall,
            Tier::Archival => &mut self.archival,
        };
        (lock(&self.db), embedded)
    }

    /// Returns how far a change of the embedder is, if one is under way.
    pub fn embedder_change(&self) -> Result<Option<EmbedderChange>, StoreError> {
        let Some(change) = &self.change else { return Ok(None) };
        let db = self.db();
        let (mut n_texts, mut n_pending) = (0, 0);
        for tier in [Tier::Recall, Tier::Archival] {
            n_texts += db.n_texts(tier)?;
            n_pending += db.n_pending(tier, &change.to, 0)? as u64;
        }
        Ok(Some(EmbedderChange {
            from: self.searched.embedder.clone(),
            from_folder: change.from_folder.clone(),
            to: change.to.embedder.clone(),
            n_texts,
            n_embedded: n_texts.saturating_sub(n_pending),
            is_searchable: self.searcher.is_some(),
            problem: change.problem.clone(),
        }))
    }

    /// Searches with the old embedder while the embedder changes. Returns whether this is the one
    /// that made the vectors; if it is not, nothing changes.
    pub fn search_with_old(&mut self, old: Arc<dyn Embedder>) -> bool {
        let is_old = self.change.is_some() && self.searched.is_of(&*old);
        if is_old {
            self.searcher = Some(old);
        }
        is_old
    }

    /// Begins to embed all texts anew in a thread of its own, if the embedder changes. `with` is
    /// the embedder that the store was opened with, which may be another instance of it.
    pub fn reembed_in_background(&mut self, with: Arc<dyn Embedder>) {
        let Some(change) = &mut self.change else { return };
        if change.thread.is_none() && with.id() == change.to.embedder {
            change.thread = Thread::start(self.db.clone(), with, change.to.clone());
            if change.thread.is_none() {
                change.problem = Some("the system gives no thread for it".into());
            }
        }
    }

    /// Ends a change of the embedder if the thread has embedded everything.
    fn settle_change(&mut self) -> Result<(), StoreError> {
        let Some(change) = &mut self.change else { return Ok(()) };
        let Some(thread) = change.thread.take_if(|thread| thread.has_ended()) else {
            return Ok(());
        };
        if let Err(error) = thread.join() {
            // Searches go on as they did; the next one to open the store tries again.
            change.problem = Some(error.to_string());
            return Ok(());
        }
        // What was said since is not much.
        self.embed_anew(usize::MAX, &mut |_| {}).map(drop)
    }

    /// Embeds up to `max` texts with the new embedder, and searches its vectors from then on if
    /// these were the last.
    fn embed_anew(
        &mut self,
        max: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<usize, StoreError> {
        let Some(change) = &mut self.change else { return Ok(0) };
        if let Some(thread) = change.thread.take() {
            thread.join()?;
        }
        let to = change.to.clone();
        let mut n_done = 0;
        for tier in [Tier::Recall, Tier::Archival] {
            let mut after = 0;
            loop {
                let n = EMBED_BATCH.min(max - n_done);
                if n == 0 && !self.db().pending(tier, &to, after, 1)?.is_empty() {
                    return Ok(n_done);
                }
                let rows = embed_some(&self.db, &*self.embedder, tier, &to, after, n)?;
                let Some((last, _)) = rows.last() else { break };
                after = *last;
                n_done += rows.len();
                progress(n_done);
            }
        }
        self.db().switch_sets(&self.searched, &to, self.embedder.folder())?;
        self.change = None;
        self.searcher = Some(self.embedder.clone());
        self.recall = Embedded::new(&self.folder, Tier::Recall, &to, self.options);
        self.archival = Embedded::new(&self.folder, Tier::Archival, &to, self.options);
        self.searched = to;
        Ok(n_done)
    }

    /// Puts a document into archival storage: cut into passages, all in one transaction, then
    /// embedded. `progress` gets how many texts are embedded, of how many. A change of the embedder
    /// that is under way is brought to its end.
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
        let n_pending = self.n_pending()?;
        progress(0, n_pending);
        let mut progress = |done| progress(done, n_pending);
        if self.change.is_some() {
            self.embed_anew(usize::MAX, &mut progress)?;
        } else {
            self.embed_tier(Tier::Archival, usize::MAX, &mut progress)?;
        }
        let (n_passages, n_new) = (all.len(), new.len());
        Ok(IngestReport { n_passages, n_new, n_existing: n_passages - n_new })
    }

    /// Returns how many texts [`ingest`](Self::ingest) has to embed.
    fn n_pending(&self) -> Result<usize, StoreError> {
        let db = self.db();
        match &self.change {
            None => db.n_pending(Tier::Archival, &self.searched, self.archival.embedded_up_to),
            Some(change) => Ok(db.n_pending(Tier::Recall, &change.to, 0)?
                + db.n_pending(Tier::Archival, &change.to, 0)?),
        }
    }

    /// Looks for damage: pages, references, full-text indexes, vector indexes. Completes an
    /// index that is not complete.
    pub fn check(&mut self) -> Result<CheckReport, StoreError> {
        let problems = self.db().problems()?;
        Ok(CheckReport {
            problems,
            n_messages: self.n_messages()?,
            n_passages: self.n_passages()?,
            recall: self.check_tier(Tier::Recall)?,
            archival: self.check_tier(Tier::Archival)?,
            embedder_change: self.embedder_change()?,
        })
    }

    fn check_tier(&mut self, tier: Tier) -> Result<TierReport, StoreError> {
        let set = self.change.as_ref().map_or(&self.searched, |change| &change.to).clone();
        let (db, embedded) = self.tier(tier);
        embedded.index.load(&db)?;
        embedded.index.catch_up(usize::MAX);
        embedded.index.save();
        Ok(TierReport {
            n_texts: db.n_texts(tier)?,
            n_pending: db.n_pending(tier, &set, 0)? as u64,
            index: embedded.index.state(),
        })
    }

    /// Makes the full-text indexes anew from the texts, for a store whose check found them to differ.
    pub fn rebuild_words(&mut self) -> Result<(), StoreError> {
        self.db().rebuild_words()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.settle_change() {
            tracing::warn!(%error, "the change of the embedder goes on at the next opening");
        }
        // Stops the thread, which must be gone before another process may have the folder.
        self.change = None;
        self.recall.index.save();
        self.archival.index.save();
    }
}
