//! `bench perf` as a person and a script use it, on a tiny model.

use serde_json::Value;

use crate::program::Home;

/// Little to do, so that it is done in no time.
const SMALL: [&str; 6] = ["-p", "8", "-n", "4", "-r", "2"];

fn perf(home: &Home, arguments: &[&str]) -> String {
    let arguments = [&["bench", "perf"], arguments].concat();
    let finished = home.run(&arguments, "");
    finished.succeeded(&arguments);
    finished.stdout
}

fn rows(text: &str) -> Vec<Value> {
    let rows: Value = serde_json::from_str(text).unwrap();
    rows.as_array().unwrap().clone()
}

fn tests(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["test"].as_str().unwrap()).collect()
}

#[test]
fn a_script_reads_rows() {
    let home = Home::new();
    let json = perf(&home, &[&SMALL[..], &["-o", "json"]].concat());
    let found = rows(&json);
    assert_eq!(tests(&found), ["pp8", "tg4"]);
    for (row, n_timed) in found.iter().zip([8.0, 4.0]) {
        assert_eq!((&row["model"], &row["backend"]), (&"tiny".into(), &"CPU".into()));
        assert_eq!((&row["n_threads"], &row["n_depth"]), (&1.into(), &0.into()));
        // Its numbers have 32 bits.
        let n_params = row["model_n_params"].as_u64().unwrap();
        assert!(n_params > 10_000 && row["model_size"] == 4 * n_params, "{row}");
        // The figures are those of the samples: of two, the mean, and half the distance times √2.
        let samples = row["samples_ns"].as_array().unwrap();
        let [a, b]: [f64; 2] =
            std::array::from_fn(|n| n_timed * 1e9 / samples[n].as_f64().unwrap());
        let near = |key: &str, expected: f64| {
            let found = row[key].as_f64().unwrap();
            assert!((found - expected).abs() <= 1e-9 * a.max(b), "{key}: {found}, not {expected}");
        };
        assert_eq!(samples.len(), 2);
        near("avg_ts", f64::midpoint(a, b));
        near("stddev_ts", (a - b).abs() / std::f64::consts::SQRT_2);
    }
    let prompt = &found[0];
    assert_eq!((&prompt["n_prompt"], &prompt["n_gen"]), (&8.into(), &0.into()));
    assert_eq!((&found[1]["n_prompt"], &found[1]["n_gen"]), (&0.into(), &4.into()));
    // `--json` is the same list, and a single measurement has no spread.
    let single = perf(&home, &["-p", "8", "-n", "0", "-r", "1", "--json"]);
    let single = rows(&single);
    assert_eq!((tests(&single), &single[0]["stddev_ts"]), (vec!["pp8"], &0.0.into()));
}

#[test]
fn every_format_has_the_same_rows() {
    let home = Home::new();
    let written = |format| perf(&home, &[&SMALL[..], &["-o", format]].concat());
    let jsonl = written("jsonl");
    let lines: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(tests(&lines), ["pp8", "tg4"]);

    let csv = written("csv");
    let [head, lines @ ..] = &csv.lines().collect::<Vec<_>>()[..] else { panic!("{csv}") };
    let columns: Vec<&str> = head.split(',').collect();
    let place = |name: &str| columns.iter().position(|column| *column == name).unwrap();
    let cells: Vec<Vec<&str>> = lines.iter().map(|line| line.split(',').collect()).collect();
    assert!(cells.iter().all(|cells| cells.len() == columns.len()), "{csv}");
    let of = |name: &str| cells.iter().map(|cells| cells[place(name)]).collect::<Vec<_>>();
    assert_eq!((of("model"), of("test")), (vec!["\"tiny\""; 2], vec!["\"pp8\"", "\"tg4\""]));
    assert!(of("avg_ts").iter().all(|speed| speed.parse::<f64>().unwrap() > 0.0), "{csv}");

    // A table is what is written unasked.
    for table in [perf(&home, &SMALL), written("md")] {
        let lines: Vec<&str> = table.lines().collect();
        let cells = |line: &str| -> Vec<String> {
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let heads = ["model", "size", "params", "backend", "threads", "test", "t/s", "seconds"];
        assert_eq!(cells(lines[0]), heads);
        assert!(lines[1].chars().all(|c| "|-: ".contains(c)), "{table}");
        for (line, test) in lines[2..4].iter().zip(["pp8", "tg4"]) {
            let cells = cells(line);
            assert_eq!((&cells[0][..], &cells[3][..], &cells[5][..]), ("tiny", "CPU", test));
            let (speed, spread) = cells[6].split_once(" ± ").unwrap();
            assert!(speed.parse::<f64>().unwrap() > 0.0 && spread.parse::<f64>().unwrap() >= 0.0);
        }
    }
}

#[test]
fn depths_threads_pairs_and_turns_have_rows_of_their_own() {
    let home = Home::new();
    let command = ["-p", "8,3", "-n", "4", "-d", "0,16", "--pg", "8,4", "--turn", "2", "-r", "1"];
    let text = perf(&home, &[&command[..], &["-o", "json"]].concat());
    let found = rows(&text);
    let expected = ["pp8", "pp3", "tg4", "pp8+tg4", "pp8 @ d16", "pp3 @ d16", "tg4 @ d16"];
    let expected = [&expected[..], &["pp8+tg4 @ d16", "turn2 @ d8"]].concat();
    assert_eq!(tests(&found), expected);
    let depths: Vec<u64> = found.iter().map(|row| row["n_depth"].as_u64().unwrap()).collect();
    assert_eq!(depths, [0, 0, 0, 0, 16, 16, 16, 16, 8]);
    let text = perf(&home, &["-p", "8", "-n", "0", "-r", "1", "--threads", "1,2", "-o", "json"]);
    let found = rows(&text);
    assert_eq!(tests(&found), ["pp8", "pp8"]);
    assert_eq!((&found[0]["n_threads"], &found[1]["n_threads"]), (&1.into(), &2.into()));
}

/// With 0 a kind of test is left out.
#[test]
fn what_is_not_asked_for_is_not_timed() {
    let home = Home::new();
    let of =
        |arguments: &[&str]| rows(&perf(&home, &[arguments, &["-r", "1", "-o", "json"]].concat()));
    assert_eq!(tests(&of(&["-p", "0", "-n", "4"])), ["tg4"]);
    assert_eq!(tests(&of(&["-p", "8", "-n", "0"])), ["pp8"]);
    assert_eq!(tests(&of(&["-p", "0", "-n", "0", "--pg", "3,2"])), ["pp3+tg2"]);
}

#[test]
fn what_cannot_be_timed_is_refused_with_a_sentence() {
    let home = Home::new();
    let absent = home.join("absent.gguf");
    let check = |arguments: &[&str], code: i32, says: &str| {
        let finished = home.run(&[&["bench", "perf"], arguments].concat(), "");
        assert_eq!(finished.status.code(), Some(code), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(says), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stdout.is_empty(), "{arguments:?}: {}", finished.stdout);
    };
    check(&["-p", "0", "-n", "0"], 2, "nothing to time");
    check(&["-p", "5000"], 2, "pp5000 needs 5000 tokens, and the context window has 4096");
    check(&["-p", "8", "-d", "60", "--window", "64"], 2, "pp8 @ d60 needs 68 tokens");
    check(&["-p", "8", "-r", "0"], 2, "--repetitions");
    check(&["-p", "-1"], 2, "'-1'");
    check(&["-p", "9999999"], 2, "9999999");
    check(&["-o", "xml"], 2, "\"xml\" is not one of md, csv, json, jsonl");
    check(&["--threads", "0"], 2, "threads");
    check(&["--model", absent.to_str().unwrap()], 3, "absent.gguf");
    std::fs::write(&absent, "GGUF, but no more than that").unwrap();
    check(&["--model", absent.to_str().unwrap()], 3, "absent.gguf");
}
