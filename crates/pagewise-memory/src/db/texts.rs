//! The texts of a tier that can be searched, their words and their vectors.

use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use pagewise_core::{Embedder, Role};
use rusqlite::{params, params_from_iter, types::Value};

use super::Db;
use super::rows::split_time;
use crate::{ArchivalQuery, RecallQuery, StoreError};

/// The two tiers that are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// What was said.
    Recall,
    /// Passages.
    Archival,
}

impl Tier {
    /// The name in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Recall => "recall",
            Self::Archival => "archival",
        }
    }

    /// The table or view with the columns `id` and `text`.
    pub(super) fn texts(self) -> &'static str {
        match self {
            Self::Recall => "spoken_messages",
            Self::Archival => "passages",
        }
    }

    /// The full-text index.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Recall => "message_words",
            Self::Archival => "passage_words",
        }
    }

    /// The table of the vectors of a set.
    fn vectors(self, set: &VectorSet) -> &'static str {
        match (self, set.is_second) {
            (Self::Recall, false) => "message_vectors",
            (Self::Recall, true) => "message_vectors_second",
            (Self::Archival, false) => "passage_vectors",
            (Self::Archival, true) => "passage_vectors_second",
        }
    }
}

/// The vectors that one embedder made, of both tiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VectorSet {
    pub(crate) embedder: String,
    pub(crate) dimensions: usize,
    /// Which of the two tables of a tier they lie in.
    pub(crate) is_second: bool,
}

/// The set that is searched, and where the weights of its embedder were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SearchedSet {
    pub(crate) set: VectorSet,
    pub(crate) folder: Option<PathBuf>,
}

/// A text that has no vector in a set.
#[derive(Debug)]
pub(crate) struct PendingText {
    pub(crate) id: i64,
    pub(crate) text: String,
}

/// Returns a vector as it is stored: little-endian `f32`s.
pub(crate) fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Reads a vector as it is stored.
pub(crate) fn from_bytes(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(4).map(|chunk| f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]))
}

impl Db {
    /// Returns the numbers of the messages that `query` may find, ascending.
    pub(crate) fn recall_scope(&self, query: &RecallQuery) -> Result<Vec<i64>, StoreError> {
        let mut sql = "SELECT id FROM messages WHERE spoken IS NOT NULL".to_string();
        let mut values: Vec<Value> = Vec::new();
        let mut condition = |sql: &mut String, text: &str, value: Value| {
            values.push(value);
            sql.push_str(&format!(" AND {text} ?{}", values.len()));
        };
        if let Some(from) = query.from.and_then(|day| start_of(day, &query.time_zone)) {
            condition(&mut sql, "at_second >=", from.into());
        }
        // Up to the start of the day after, so that the last day is included.
        let end = query.to.and_then(|day| day.tomorrow().ok());
        if let Some(end) = end.and_then(|day| start_of(day, &query.time_zone)) {
            condition(&mut sql, "at_second <", end.into());
        }
        if let Some(before) = query.before {
            condition(&mut sql, "id <", before.0.into());
        }
        let roles: &[Role] =
            if query.roles.is_empty() { &[Role::User, Role::Assistant] } else { &query.roles };
        let roles: Vec<String> = roles.iter().map(|role| format!("'{}'", role.name())).collect();
        sql.push_str(&format!(" AND role IN ({}) ORDER BY id", roles.join(", ")));
        self.all(&sql, params_from_iter(values), |row| row.get(0))
    }

    /// Returns the numbers of the passages that `query` may find, ascending: those with all of its
    /// tags.
    pub(crate) fn archival_scope(&self, query: &ArchivalQuery) -> Result<Vec<i64>, StoreError> {
        let mut sql = "SELECT id FROM passages WHERE 1".to_string();
        for index in 1..=query.tags.len() {
            sql.push_str(&format!(" AND ?{index} IN (SELECT value FROM json_each(tags))"));
        }
        sql.push_str(" ORDER BY id");
        self.all(&sql, params_from_iter(&query.tags), |row| row.get(0))
    }

    /// Returns what a full-text query finds, best first (BM25; ties by newest): number and score.
    pub(crate) fn match_words(
        &self,
        tier: Tier,
        fts_query: &str,
    ) -> Result<Vec<(i64, f64)>, StoreError> {
        let words = tier.words();
        self.all(
            &format!(
                "SELECT rowid, -bm25({words}) FROM {words} WHERE {words} MATCH ?1 ORDER BY 2 DESC, 1 DESC"
            ),
            [fts_query],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }

    /// Returns the texts in `scope` (ascending) that have `part` in them, in any case, oldest first.
    pub(crate) fn match_substring(
        &self,
        tier: Tier,
        part: &str,
        scope: &[i64],
    ) -> Result<Vec<(i64, f64)>, StoreError> {
        let part = part.trim().to_lowercase();
        let texts = tier.texts();
        let mut rows: Vec<(i64, String)> =
            self.all(&format!("SELECT id, text FROM {texts} ORDER BY id"), [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        rows.retain(|(id, text)| {
            scope.binary_search(id).is_ok() && text.to_lowercase().contains(&part)
        });
        // The score is the place in this order, which is not that of a better fit.
        Ok(rows.iter().enumerate().map(|(place, (id, _))| (*id, -(place as f64))).collect())
    }

    /// Returns the text of a row.
    pub(crate) fn text(&self, tier: Tier, id: i64) -> Result<String, StoreError> {
        self.one(&format!("SELECT text FROM {} WHERE id = ?1", tier.texts()), [id], |row| {
            row.get(0)
        })
    }

    pub(crate) fn last_text_id(&self, tier: Tier) -> Result<i64, StoreError> {
        self.one(&format!("SELECT coalesce(max(id), 0) FROM {}", tier.texts()), [], |row| {
            row.get(0)
        })
    }

    /// Returns which vectors are searched; `None` before the first one was made.
    pub(crate) fn searched_set(&self) -> Result<Option<SearchedSet>, StoreError> {
        self.optional("SELECT name, dimensions, folder, is_second FROM embedder", [], |row| {
            let folder: Option<String> = row.get("folder")?;
            let dimensions: u32 = row.get("dimensions")?;
            let set = VectorSet {
                embedder: row.get("name")?,
                dimensions: dimensions as usize,
                is_second: row.get("is_second")?,
            };
            Ok(SearchedSet { set, folder: folder.map(PathBuf::from) })
        })
    }

    /// Says which vectors are searched from now on.
    pub(crate) fn set_searched(
        &self,
        set: &VectorSet,
        folder: Option<&Path>,
    ) -> Result<(), StoreError> {
        self.execute(
            "INSERT OR REPLACE INTO embedder (id, name, dimensions, folder, is_second)
             VALUES (1, ?1, ?2, ?3, ?4)",
            params![
                set.embedder,
                i64::try_from(set.dimensions).unwrap_or(i64::MAX),
                folder.and_then(Path::to_str),
                set.is_second
            ],
        )?;
        Ok(())
    }

    /// Searches `to` instead of `from` from now on, and removes `from`, all in one transaction.
    pub(crate) fn switch_sets(
        &self,
        from: &VectorSet,
        to: &VectorSet,
        folder: Option<&Path>,
    ) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        self.set_searched(to, folder)?;
        for tier in [Tier::Recall, Tier::Archival] {
            self.execute(&format!("DELETE FROM {}", tier.vectors(from)), [])?;
        }
        self.commit(transaction)
    }

    /// Returns whether a set has no vector at all.
    pub(crate) fn is_empty_set(&self, set: &VectorSet) -> Result<bool, StoreError> {
        for tier in [Tier::Recall, Tier::Archival] {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", tier.vectors(set));
            if self.one(&sql, [], |row| row.get::<_, bool>(0))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the oldest texts after number `after` that have no vector in this set.
    pub(crate) fn pending(
        &self,
        tier: Tier,
        set: &VectorSet,
        after: i64,
        max: usize,
    ) -> Result<Vec<PendingText>, StoreError> {
        self.all(
            &format!(
                "SELECT text.id, text.text {} ORDER BY text.id LIMIT ?4",
                pending_rows(tier, set)
            ),
            params![set.embedder, set.bytes(), after, i64::try_from(max).unwrap_or(i64::MAX)],
            |row| Ok(PendingText { id: row.get(0)?, text: row.get(1)? }),
        )
    }

    pub(crate) fn n_pending(
        &self,
        tier: Tier,
        set: &VectorSet,
        after: i64,
    ) -> Result<usize, StoreError> {
        let n: i64 = self.one(
            &format!("SELECT count(*) {}", pending_rows(tier, set)),
            params![set.embedder, set.bytes(), after],
            |row| row.get(0),
        )?;
        Ok(usize::try_from(n).unwrap_or(0))
    }

    /// Stores the vectors of texts, in one transaction.
    pub(crate) fn put_vectors(
        &self,
        tier: Tier,
        set: &VectorSet,
        rows: &[(i64, Vec<f32>)],
    ) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        let sql = format!(
            "INSERT OR REPLACE INTO {} (id, embedder, vector) VALUES (?1, ?2, ?3)",
            tier.vectors(set)
        );
        for (id, vector) in rows {
            self.execute(&sql, params![id, set.embedder, to_bytes(vector)])?;
        }
        self.commit(transaction)
    }

    /// Calls `each` with the number and the bytes of every vector of this set whose number is in
    /// `first..=last`, ascending.
    pub(crate) fn each_vector(
        &self,
        tier: Tier,
        set: &VectorSet,
        (first, last): (i64, i64),
        mut each: impl FnMut(i64, &[u8]),
    ) -> Result<(), StoreError> {
        self.all(
            &format!(
                "SELECT id, vector FROM {} WHERE id BETWEEN ?1 AND ?2 AND embedder = ?3
                 AND length(vector) = ?4 ORDER BY id",
                tier.vectors(set)
            ),
            params![first, last, set.embedder, set.bytes()],
            |row| {
                each(row.get(0)?, row.get_ref(1)?.as_blob()?);
                Ok(())
            },
        )?;
        Ok(())
    }

    pub(crate) fn n_texts(&self, tier: Tier) -> Result<u64, StoreError> {
        self.count(tier.texts())
    }
}

/// A vector of another embedder, or of a wrong length, is as good as none.
fn pending_rows(tier: Tier, set: &VectorSet) -> String {
    format!(
        "FROM {} AS text LEFT JOIN {} AS vector ON vector.id = text.id
         WHERE text.id > ?3 AND (vector.id IS NULL OR vector.embedder <> ?1 OR length(vector.vector) <> ?2)",
        tier.texts(),
        tier.vectors(set)
    )
}

impl VectorSet {
    /// Whether this embedder makes the vectors of this set.
    pub(crate) fn is_of(&self, embedder: &dyn Embedder) -> bool {
        self.embedder == embedder.id() && self.dimensions == embedder.dimensions()
    }

    /// The bytes of a stored vector.
    fn bytes(&self) -> i64 {
        i64::try_from(self.dimensions.saturating_mul(4)).unwrap_or(i64::MAX)
    }
}

/// The second at which a day starts; `None` beyond the calendar.
fn start_of(day: Date, time_zone: &TimeZone) -> Option<i64> {
    let start = day.to_zoned(time_zone.clone()).ok()?;
    Some(split_time(start.timestamp()).0)
}
