//! Looks for damage, for `doctor`.

use serde::Serialize;

use super::Db;
use super::texts::Tier;
use crate::{EmbedderChange, IndexState, StoreError};

/// What a check of the store found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// What is wrong, one sentence each; empty if the store is sound.
    pub problems: Vec<String>,
    /// Messages in recall storage, of all kinds.
    pub n_messages: u64,
    /// Passages in archival storage.
    pub n_passages: u64,
    /// What can be searched in recall storage.
    pub recall: TierReport,
    /// What can be searched in archival storage.
    pub archival: TierReport,
    /// The change of the embedder that is under way, if one is.
    pub embedder_change: Option<EmbedderChange>,
}

/// What there is of a tier that is searched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TierReport {
    /// Texts that can be found.
    pub n_texts: u64,
    /// Texts that the embedder asked for has not embedded yet.
    pub n_pending: u64,
    /// The index over the vectors.
    pub index: IndexState,
}

impl CheckReport {
    /// Returns whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Db {
    /// Returns everything that is wrong with the database.
    pub(crate) fn problems(&self) -> Result<Vec<String>, StoreError> {
        let mut problems =
            self.all("PRAGMA integrity_check(20)", [], |row| row.get::<_, String>(0))?;
        problems.retain(|problem| problem != "ok");
        let orphans = self.all("PRAGMA foreign_key_check", [], |row| {
            Ok(format!(
                "row {} of {} refers to a row that is not there",
                row.get::<_, Option<i64>>(1)?.unwrap_or(0),
                row.get::<_, String>(0)?
            ))
        })?;
        problems.extend(orphans);
        for tier in [Tier::Recall, Tier::Archival] {
            let words = tier.words();
            // Unlike the integrity check above, this compares the index with the texts.
            let sql = format!("INSERT INTO {words} ({words}, rank) VALUES ('integrity-check', 1)");
            match self.execute(&sql, []) {
                Ok(_) => {}
                Err(StoreError::Damaged { .. }) => {
                    problems.push(format!(
                        "the full-text index of {} storage differs from its texts",
                        tier.name()
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(problems)
    }

    /// Makes the full-text indexes anew from the texts.
    pub(crate) fn rebuild_words(&self) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        for tier in [Tier::Recall, Tier::Archival] {
            let words = tier.words();
            self.execute(&format!("INSERT INTO {words} ({words}) VALUES ('rebuild')"), [])?;
        }
        self.commit(transaction)
    }
}
