//! Schemas with instances: MaskBench, JSONSchemaBench and the JSON Schema Test Suite.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{LINE_BYTES_MAX, Place, has, lines};
use crate::memory::error::MemoryBenchError;
use crate::memory::schemas::{Instance, SchemaCase, SchemaSet};
use crate::memory::task::Task;

/// The draft of the JSON Schema Test Suite that is read.
const DRAFT: &str = "tests/draft2020-12";

/// Folders in one another, in the test suite.
const LEVELS_MAX: usize = 4;

#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    #[serde(flatten)]
    rest: Described,
}

#[derive(Debug, Deserialize)]
struct Described {
    schema: Value,
    #[serde(default)]
    meta: Meta,
    #[serde(default)]
    tests: Vec<Test>,
}

#[derive(Debug, Default, Deserialize)]
struct Meta {
    #[serde(default)]
    features: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Test {
    data: Value,
    valid: bool,
}

/// Reads the set in `folder`, or in the one of its folders that is named as the set is.
pub(crate) fn set(folder: &Path) -> Result<SchemaSet, MemoryBenchError> {
    let places = |name: &str| [folder.to_path_buf(), folder.join(name)];
    let find = |name: &str, is_there: &dyn Fn(&Path) -> bool| {
        places(name).into_iter().find(|place| is_there(place))
    };
    let set = |source: &str, cases| Ok(SchemaSet { source: source.into(), cases });
    if let Some(place) = find("maskbench", &|place| has(place, "maskbench.jsonl")) {
        return set("maskbench", of_lines(&place, "maskbench.jsonl", "---")?);
    }
    if let Some(place) = find("maskbench", &|place| place.join("data").is_dir()) {
        return set("maskbench", of_folder(&place.join("data"))?);
    }
    if let Some(place) = find("jsonschemabench", &|place| has(place, "schemas.jsonl")) {
        return set("jsonschemabench", of_lines(&place, "schemas.jsonl", "/")?);
    }
    if let Some(place) = find("json_schema_test_suite", &|place| place.join(DRAFT).is_dir()) {
        return set("json_schema_test_suite", of_suite(&place.join(DRAFT))?);
    }
    Err(MemoryBenchError::NoData {
        path: folder.into(),
        task: Task::Grammar,
        wanted: "maskbench.jsonl, a folder data of MaskBench's files, schemas.jsonl of JSONSchemaBench, or \
                 tests/draft2020-12 of the JSON Schema Test Suite",
    })
}

/// Reads a file with a schema in each line. `between` parts the name of a collection from the rest of a
/// schema's.
fn of_lines(folder: &Path, name: &str, between: &str) -> Result<Vec<SchemaCase>, MemoryBenchError> {
    let lines: Vec<(Place, Line)> = lines(folder, name)?;
    Ok(lines.into_iter().map(|(_, line)| case(&line.id, line.rest, between)).collect())
}

/// Reads the files of a folder, each with one schema.
fn of_folder(folder: &Path) -> Result<Vec<SchemaCase>, MemoryBenchError> {
    let mut cases = Vec::new();
    for path in files(folder, 0)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        cases.push(case(&name, read(&path)?, "---"));
    }
    Ok(cases)
}

fn case(id: &str, described: Described, between: &str) -> SchemaCase {
    // Some names have an underscore there, and a number behind it.
    let family = match id.split_once(between).or_else(|| id.split_once('_')) {
        Some((family, _)) => family,
        None => id,
    };
    SchemaCase {
        id: id.into(),
        family: family.into(),
        features: described.meta.features,
        schema: described.schema,
        instances: instances(described.tests),
    }
}

fn instances(tests: Vec<Test>) -> Vec<Instance> {
    tests.into_iter().map(|test| Instance { value: test.data, is_valid: test.valid }).collect()
}

/// Reads the test suite: a file is of one keyword, and has several schemas.
fn of_suite(folder: &Path) -> Result<Vec<SchemaCase>, MemoryBenchError> {
    let mut cases = Vec::new();
    for path in files(folder, 0)? {
        let keyword = path.strip_prefix(folder).unwrap_or(&path).with_extension("");
        let keyword = keyword.to_string_lossy().replace('\\', "/");
        let described: Vec<Described> = read(&path)?;
        for (number, described) in described.into_iter().enumerate() {
            cases.push(SchemaCase {
                id: format!("{keyword}-{number}"),
                family: keyword.clone(),
                features: Vec::new(),
                schema: described.schema,
                instances: instances(described.tests),
            });
        }
    }
    Ok(cases)
}

/// All JSON files of a folder and of those inside, by name.
fn files(folder: &Path, level: usize) -> Result<Vec<PathBuf>, MemoryBenchError> {
    let error = |error: std::io::Error| MemoryBenchError::file(folder, &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        if path.is_dir() && level < LEVELS_MAX {
            found.extend(files(&path, level + 1)?);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, MemoryBenchError> {
    let error = |error: std::io::Error| MemoryBenchError::file(path, &error);
    if fs::metadata(path).map_err(error)?.len() > LINE_BYTES_MAX {
        return Err(MemoryBenchError::File {
            path: path.into(),
            reason: "the file is too large for a data set".into(),
        });
    }
    let bytes = fs::read(path).map_err(error)?;
    serde_json::from_slice(&bytes).map_err(|error| MemoryBenchError::Line {
        path: path.into(),
        line: error.line(),
        reason: format!("not as its format says: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_layout_is_known_by_its_files() {
        let home = tempfile::tempdir().unwrap();
        let error = set(home.path()).unwrap_err().to_string();
        assert!(error.contains("has no data for grammar: it needs maskbench.jsonl"), "{error}");

        let suite = home.path().join("json_schema_test_suite").join(DRAFT);
        fs::create_dir_all(suite.join("optional/format")).unwrap();
        let tests =
            json!([{"description": "", "data": 1, "valid": true}, {"data": "a", "valid": false}]);
        let file = json!([
            {"description": "", "schema": {"type": "integer"}, "tests": tests},
            {"schema": true, "tests": []},
        ]);
        fs::write(suite.join("type.json"), file.to_string()).unwrap();
        fs::write(suite.join("optional/format/date.json"), file.to_string()).unwrap();
        let read = set(home.path()).unwrap();
        assert_eq!(read.source, "json_schema_test_suite");
        let named: Vec<(&str, &str)> =
            read.cases.iter().map(|case| (&*case.id, &*case.family)).collect();
        assert_eq!(
            named,
            [
                ("optional/format/date-0", "optional/format/date"),
                ("optional/format/date-1", "optional/format/date"),
                ("type-0", "type"),
                ("type-1", "type"),
            ]
        );
        assert_eq!(read.cases[2].instances[1], Instance { value: json!("a"), is_valid: false });

        let line = json!({"id": "Easy_ones/o1.json", "schema": {"type": "object"}});
        fs::write(home.path().join("schemas.jsonl"), line.to_string()).unwrap();
        let read = set(home.path()).unwrap();
        assert_eq!((&*read.source, &*read.cases[0].family), ("jsonschemabench", "Easy_ones"));

        fs::create_dir_all(home.path().join("maskbench/data")).unwrap();
        let described = json!({"schema": true, "meta": {"features": ["items"]}, "tests": tests});
        let file = home.path().join("maskbench/data/Tools_7.json");
        fs::write(&file, described.to_string()).unwrap();
        let read = set(home.path()).unwrap();
        assert_eq!((&*read.source, &*read.cases[0].family), ("maskbench", "Tools"));
        assert_eq!((read.cases[0].features.len(), read.cases[0].instances.len()), (1, 2));

        let mut line = described;
        line["id"] = "Some_tools---a_b.json".into();
        fs::write(home.path().join("maskbench.jsonl"), line.to_string()).unwrap();
        let read = set(home.path()).unwrap();
        assert_eq!(
            (&*read.cases[0].id, &*read.cases[0].family),
            ("Some_tools---a_b.json", "Some_tools")
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("maskbench.jsonl"), "\n{\"id\": \"a\"}\n").unwrap();
        let error = set(home.path()).unwrap_err().to_string();
        assert!(error.contains("maskbench.jsonl, line 2: not as its format says"), "{error}");
        assert!(error.contains("missing field `schema`"), "{error}");
        fs::remove_file(home.path().join("maskbench.jsonl")).unwrap();
        fs::create_dir_all(home.path().join(DRAFT)).unwrap();
        fs::write(home.path().join(DRAFT).join("not.json"), "[\n{\"schema\": 1, \"tests\": 2}]")
            .unwrap();
        let error = set(home.path()).unwrap_err().to_string();
        assert!(error.contains("not.json, line 2: not as its format says"), "{error}");
    }
}
