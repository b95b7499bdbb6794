//! Rows as a person or a program reads them.

use std::fmt::Write as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::PerfRow;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A Markdown table.
    #[default]
    Md,
    /// A header line, then one line a row.
    Csv,
    /// One list of objects.
    Json,
    /// One object a line.
    Jsonl,
}

/// Rows together with how they are written.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What was measured.
    pub rows: &'a [PerfRow],
    /// How it is written.
    pub format: Format,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "md" => Ok(Self::Md),
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err(format!("{text:?} is not one of md, csv, json, jsonl")),
        }
    }
}

impl Report<'_> {
    /// Writes the rows; ends with a line break.
    pub fn write(&self) -> String {
        match self.format {
            Format::Md => self.markdown(),
            Format::Csv => self.csv(),
            Format::Json => {
                let objects: Vec<String> = self.rows.iter().map(json).collect();
                format!("[{}]\n", objects.join(",\n "))
            }
            Format::Jsonl => self.rows.iter().map(|row| json(row) + "\n").collect(),
        }
    }

    fn markdown(&self) -> String {
        let heads = ["model", "size", "params", "backend", "threads", "test", "t/s", "seconds"];
        let cells: Vec<[String; 8]> = self
            .rows
            .iter()
            .map(|row| {
                [
                    row.model.replace('|', "\\|"),
                    bytes(row.model_size),
                    count(row.model_n_params),
                    row.backend.clone(),
                    row.n_threads.to_string(),
                    row.test.clone(),
                    format!("{:.2} ± {:.2}", row.avg_ts, row.stddev_ts),
                    format!("{:.3}", row.avg_ns as f64 / 1e9),
                ]
            })
            .collect();
        let widths: Vec<usize> = (0..heads.len())
            .map(|column| {
                let longest =
                    cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
                longest.max(heads[column].len())
            })
            .collect();
        // The model and the backend are words and stand left, as in llama-bench's table.
        let is_word = |column: usize| column == 0 || column == 3;
        let line = |row: &[String]| {
            let mut line = String::from("|");
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                let cell = if is_word(column) {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                };
                line += &format!(" {cell} |");
            }
            line + "\n"
        };
        let rules: Vec<String> = widths
            .iter()
            .enumerate()
            .map(
                |(column, width)| {
                    if is_word(column) { "-".repeat(*width) } else { "-".repeat(width - 1) + ":" }
                },
            )
            .collect();
        let mut table = line(&heads.map(str::to_string));
        table += &line(&rules);
        cells.iter().for_each(|row| table += &line(row));
        if let Some(peak) = self.rows.iter().filter_map(|row| row.peak_memory).max() {
            let _ = writeln!(table, "\npeak memory: {}", bytes(peak));
        }
        table
    }

    fn csv(&self) -> String {
        let mut text = String::from(
            "model,model_size,model_n_params,backend,n_threads,n_prompt,n_gen,n_depth,test,\
             avg_ns,stddev_ns,avg_ts,stddev_ts,load_ms,peak_memory\n",
        );
        for row in self.rows {
            let _ = writeln!(
                text,
                "{},{},{},{},{},{},{},{},{},{},{},{:.6},{:.6},{},{}",
                quoted(&row.model),
                row.model_size,
                row.model_n_params,
                quoted(&row.backend),
                row.n_threads,
                row.n_prompt,
                row.n_gen,
                row.n_depth,
                quoted(&row.test),
                row.avg_ns,
                row.stddev_ns,
                row.avg_ts,
                row.stddev_ts,
                row.load_ms,
                row.peak_memory.map_or_else(String::new, |bytes| bytes.to_string()),
            );
        }
        text
    }
}

fn json(row: &PerfRow) -> String {
    // A row is numbers and strings, which always have a JSON text.
    serde_json::to_string(row).unwrap_or_default()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Bytes in binary units, as llama-bench writes them.
fn bytes(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 1024.0 {
        format!("{mebibytes:.2} MiB")
    } else {
        format!("{:.2} GiB", mebibytes / 1024.0)
    }
}

/// A number of parameters in millions or billions.
fn count(n: u64) -> String {
    let millions = n as f64 / 1e6;
    if millions < 1000.0 { format!("{millions:.2} M") } else { format!("{:.2} B", millions / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<PerfRow> {
        let row = |test: &str, n_prompt, n_gen, avg_ts| PerfRow {
            model: "qwen, \"small\"".into(),
            model_size: 1_117_320_768,
            model_n_params: 1_543_714_304,
            backend: "CPU".into(),
            n_threads: 2,
            n_prompt,
            n_gen,
            n_depth: 0,
            test: test.into(),
            avg_ns: 1_500_000_000,
            stddev_ns: 10,
            avg_ts,
            stddev_ts: 0.25,
            samples_ns: vec![1_500_000_000],
            load_ms: 120,
            peak_memory: Some(1 << 30),
        };
        vec![row("pp512", 512, 0, 123.456), row("tg64", 0, 64, 9.5)]
    }

    fn written(format: Format) -> String {
        Report { rows: &rows(), format }.write()
    }

    #[test]
    fn a_table_has_llama_benchs_columns() {
        insta::assert_snapshot!(written(Format::Md), @r#"
        | model         |     size | params | backend | threads |  test |           t/s | seconds |
        | ------------- | -------: | -----: | ------- | ------: | ----: | ------------: | ------: |
        | qwen, "small" | 1.04 GiB | 1.54 B | CPU     |       2 | pp512 | 123.46 ± 0.25 |   1.500 |
        | qwen, "small" | 1.04 GiB | 1.54 B | CPU     |       2 |  tg64 |   9.50 ± 0.25 |   1.500 |

        peak memory: 1.00 GiB
        "#);
    }

    #[test]
    fn a_comma_or_a_quote_in_a_name_stays_in_its_field() {
        insta::assert_snapshot!(written(Format::Csv), @r#"
        model,model_size,model_n_params,backend,n_threads,n_prompt,n_gen,n_depth,test,avg_ns,stddev_ns,avg_ts,stddev_ts,load_ms,peak_memory
        "qwen, ""small""",1117320768,1543714304,"CPU",2,512,0,0,"pp512",1500000000,10,123.456000,0.250000,120,1073741824
        "qwen, ""small""",1117320768,1543714304,"CPU",2,0,64,0,"tg64",1500000000,10,9.500000,0.250000,120,1073741824
        "#);
    }

    #[test]
    fn json_has_what_scripts_read() {
        let list: serde_json::Value = serde_json::from_str(&written(Format::Json)).unwrap();
        let lines: Vec<serde_json::Value> = written(Format::Jsonl)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(list.as_array().unwrap(), &lines);
        for key in ["model", "test", "avg_ts", "stddev_ts", "n_threads", "backend"] {
            assert!(!lines[0][key].is_null(), "{key}");
        }
        assert_eq!(
            (lines[0]["test"].as_str(), lines[1]["test"].as_str()),
            (Some("pp512"), Some("tg64"))
        );
    }

    #[test]
    fn formats_have_names() {
        for name in ["md", "csv", "json", "jsonl"] {
            let format: Format = name.parse().unwrap();
            assert_eq!(serde_json::to_value(format).unwrap(), name);
        }
        assert_eq!(
            "xml".parse::<Format>().unwrap_err(),
            "\"xml\" is not one of md, csv, json, jsonl"
        );
    }
}
