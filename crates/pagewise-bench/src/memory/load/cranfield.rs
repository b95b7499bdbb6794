//! The Cranfield collection: abstracts, queries, and judgements of which abstract answers which.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use super::{Place, has, lines, some_text};
use crate::memory::error::MemoryBenchError;
use crate::memory::retrieval::{Corpus, Query};

/// The file of the judgements.
pub(crate) const JUDGEMENTS: &str = "qrels.jsonl";

#[derive(Debug, Deserialize)]
struct DocumentLine {
    id: u64,
    title: String,
    text: String,
}

#[derive(Debug, Deserialize)]
struct QueryLine {
    id: u64,
    text: String,
}

#[derive(Debug, Deserialize)]
struct Judgement {
    query: u64,
    doc: u64,
}

/// Reads the collection of a folder. Everything that was judged counts as right, whatever its code: the
/// codes grade it, and the lowest marks the paper that a query is from.
pub(crate) fn corpus(folder: &Path) -> Result<Corpus, MemoryBenchError> {
    for file in ["docs.jsonl", "queries.jsonl"] {
        if !has(folder, file) {
            let error = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(MemoryBenchError::file(folder.join(file), &error));
        }
    }
    let read: Vec<(Place, DocumentLine)> = lines(folder, "docs.jsonl")?;
    let mut places = HashMap::new();
    let mut documents = Vec::new();
    for (place, DocumentLine { id, title, text }) in read {
        if places.insert(id, documents.len()).is_some() {
            return Err(place.wrong(format!("the document {id} is there twice")));
        }
        documents.push(format!("{title} {text}").trim().to_string());
    }
    let read: Vec<(Place, QueryLine)> = lines(folder, "queries.jsonl")?;
    let mut asked = HashMap::new();
    let mut queries = Vec::new();
    for (place, QueryLine { id, text }) in read {
        some_text(&place, "text", &text)?;
        if asked.insert(id, queries.len()).is_some() {
            return Err(place.wrong(format!("the query {id} is there twice")));
        }
        queries.push(Query { text, gold: Vec::new(), labels: BTreeMap::new() });
    }
    let read: Vec<(Place, Judgement)> = lines(folder, JUDGEMENTS)?;
    for (place, Judgement { query, doc }) in read {
        let (Some(query), Some(doc)) = (asked.get(&query), places.get(&doc)) else {
            return Err(place.wrong(format!("there is no query {query}, or no document {doc}")));
        };
        if !queries[*query].gold.contains(doc) {
            queries[*query].gold.push(*doc);
        }
    }
    queries.retain(|query| !query.gold.is_empty());
    Ok(Corpus { documents, queries })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn load(documents: &str, queries: &str, judgements: &str) -> Result<Corpus, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in
            [("docs.jsonl", documents), ("queries.jsonl", queries), ("qrels.jsonl", judgements)]
        {
            fs::write(folder.path().join(name), text).unwrap();
        }
        corpus(folder.path()).map_err(|error| error.to_string())
    }

    const DOCUMENTS: &str = "{\"id\": 7, \"title\": \"wings\", \"text\": \"of wood\"}\n\
        {\"id\": 9, \"title\": \"\", \"text\": \"\"}\n";
    const QUERIES: &str =
        "{\"id\": 1, \"text\": \"wooden wings\"}\n{\"id\": 2, \"text\": \"unjudged\"}\n";

    #[test]
    fn judgements_tie_queries_to_documents() {
        let judgements =
            "{\"query\": 1, \"doc\": 7, \"code\": -1}\n{\"query\": 1, \"doc\": 7, \"code\": 2}\n";
        let corpus = load(DOCUMENTS, QUERIES, judgements).unwrap();
        assert_eq!(corpus.documents, ["wings of wood", ""]);
        assert_eq!(corpus.queries.len(), 1, "a query that nobody judged has nothing to find");
        assert_eq!(
            (&*corpus.queries[0].text, &*corpus.queries[0].gold),
            ("wooden wings", &[0][..])
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |documents: &str, queries: &str, judgements: &str, expected: &str| {
            let error = load(documents, queries, judgements).unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        };
        let good = "{\"query\": 1, \"doc\": 7, \"code\": 1}\n";
        check(
            DOCUMENTS,
            QUERIES,
            &format!("{good}{}", good.replace('7', "8")),
            "qrels.jsonl, line 2: there is no query 1, or no document 8",
        );
        check(
            &DOCUMENTS.replace('9', "7"),
            QUERIES,
            good,
            "docs.jsonl, line 2: the document 7 is there twice",
        );
        check(
            DOCUMENTS,
            &QUERIES.replace("unjudged", " "),
            good,
            "queries.jsonl, line 2: text is empty",
        );
        check(DOCUMENTS, &QUERIES.replace('2', "1"), good, "line 2: the query 1 is there twice");
        check("{}", QUERIES, good, "docs.jsonl, line 1: not as its format says");
    }
}
