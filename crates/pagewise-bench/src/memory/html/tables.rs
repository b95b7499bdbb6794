//! The tables: models beside each other, what each can be used for, judges, and all figures.

use std::fmt::Write;

use super::escape::text;
use super::figures::model_of;
use crate::memory::arm::Arm;
use crate::memory::card::{ADVISED_AGAINST_BELOW, ADVISED_FROM, Advice, Card};
use crate::memory::judge::judged_shares;
use crate::memory::leaderboard::Leaderboard;
use crate::memory::retrieval::retrieval_rows;
use crate::memory::runs::Runs;
use crate::memory::schemas::{self, GrammarSummary, grammar_rows};
use crate::memory::summary::Share;

pub(super) fn leaderboard(runs: &Runs) -> String {
    let board = Leaderboard::of(runs);
    if board.standings.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<h3>Leaderboard</h3>\n<p class=\"note\">The memgpt arm. Each task counts once in the mean, but for opener, whose \
         nearness is no share of what is right; nested-kv is the mean of accuracy and control, and bfcl-memory has only what the agent saved to answer from.</p>\n",
    );
    let mut header = vec!["model".to_string(), "window".into()];
    header.extend(board.tasks.iter().cloned());
    header.push("mean".into());
    let rows = board.standings.iter().map(|standing| {
        let mut row = vec![standing.model.clone(), standing.window.to_string()];
        row.extend(standing.scores.iter().map(|score| match score {
            Some(score) => with_interval(score.score, score.ci95, &format!("n {}", score.n)),
            None => "–".into(),
        }));
        let of = format!("{} of {}", standing.n_tasks, board.n_in_mean);
        row.push(match standing.n_tasks {
            0 => "–".into(),
            _ => with_interval(standing.mean, standing.ci95, &of),
        });
        row
    });
    html += &table(&header, rows, 0);
    html
}

pub(super) fn cards(runs: &Runs) -> String {
    let mut html = String::new();
    for card in Card::all(runs) {
        let weights =
            if card.weights.is_empty() { "without a recorded hash" } else { &card.weights };
        let _ = writeln!(
            html,
            "<h3>{}, window {}</h3>\n<p class=\"note\">weights <code>{}</code></p>",
            text(&card.model),
            card.window,
            text(weights)
        );
        let header = [
            "task",
            "n",
            "accuracy",
            "full context",
            "no memory",
            "memory adds",
            "tokens",
            "s",
            "advice",
        ]
        .map(String::from);
        let rows = card.lines.iter().map(|line| {
            let n = line.memgpt.n;
            let share = |share: &Share| {
                let of = if share.n == n { String::new() } else { format!("n {}", share.n) };
                with_interval(share.accuracy, share.ci95, &of)
            };
            let other = |arm: Arm| line.others.get(arm.name()).map_or_else(|| "–".into(), share);
            vec![
                line.part.clone(),
                n.to_string(),
                share(&line.memgpt),
                other(Arm::FullContext),
                other(Arm::NoMemory),
                line.over_no_memory.map_or_else(
                    || "–".into(),
                    |(more, [low, high])| format!("{more:+.2} ({low:+.2} to {high:+.2})"),
                ),
                format!("{:.0}", line.tokens_per_case),
                format!("{:.1}", line.seconds_per_case),
                line.advice.map_or("–", Advice::name).into(),
            ]
        });
        html += &table(&header, rows, 1);
        html += "<ul class=\"note\">";
        for line in &card.lines {
            let _ = write!(html, "<li>{}: {}</li>", text(&line.part), text(&line.details()));
        }
        html += "</ul>\n";
    }
    if html.is_empty() {
        return html;
    }
    format!(
        "<p>What each model can be used for as a manager of its memory. \"use\": the lower end of the 95% interval is at \
         least {ADVISED_FROM}; \"do not use\": its upper end is below {ADVISED_AGAINST_BELOW}; \"check replies\": \
         neither. \"memory adds\" is accuracy less that of the question alone, over the cases that both have.</p>\n{html}"
    )
}

pub(super) fn judges(runs: &Runs) -> String {
    if runs.rates.is_empty() {
        return String::new();
    }
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>();
    let rates = runs.rates.iter().flat_map(|rates| {
        rates.sets.iter().map(|set| {
            let (rate, ci95) = set.error_rate();
            let are = if set.is_right { "right" } else { "wrong" };
            let of = format!("n {}", set.n);
            vec![
                rates.judge.judge.clone(),
                set.name.clone(),
                are.into(),
                set.n_accepted.to_string(),
                with_interval(rate, ci95, &of),
            ]
        })
    });
    let mut html = String::from(
        "<p>A model was asked whether replies give the right answer. What it says counts for nothing else on this page, \
         and means what its own errors let it mean.</p>\n",
    );
    html += &table(&strings(&["judge", "answers", "are", "accepted", "judge is wrong"]), rates, 3);
    let shares = judged_shares(runs).into_iter().map(|share| {
        vec![
            share.cell,
            share.judge,
            format!("{:.2}", share.accuracy),
            with_interval(share.accepted, share.ci95, &format!("n {}", share.n)),
            format!("{:.2}", share.agreement),
        ]
    });
    html + &table(&strings(&["cell", "judge", "text compared", "judged", "agree"]), shares, 2)
}

pub(super) fn table_of_cells(runs: &Runs) -> String {
    let header = [
        "task",
        "model",
        "arm",
        "window",
        "n",
        "accuracy",
        "95%",
        "stores",
        "calls",
        "searches",
        "without choice",
        "tokens",
        "written",
        "s",
        "reply",
        "other measures",
    ]
    .map(String::from);
    let rows = runs.cells.iter().flat_map(|cell| {
        cell.parts().into_iter().map(move |part| {
            let sums = part.figures(cell.settings.seed);
            let Share { n, accuracy, ci95: [low, high], stores } = &sums.share;
            vec![
                part.name,
                model_of(cell),
                cell.settings.arm.to_string(),
                cell.settings.window.to_string(),
                n.to_string(),
                format!("{accuracy:.3}"),
                format!("{low:.3}–{high:.3}"),
                stores.map_or_else(|| "–".into(), |stores| stores.to_string()),
                format!("{:.1}", sums.steps),
                format!("{:.1}", sums.searches),
                format!("{:.1}", sums.runtime_searches),
                format!("{:.0}", sums.tokens),
                format!("{:.0}", sums.written),
                format!("{:.1}", sums.seconds),
                format!("{:.0}", sums.reply_chars),
                sums.named_scores().join(", "),
            ]
        })
    });
    format!(
        "<p class=\"note\">Calls, searches, those of which the model had nothing to choose, tokens (read, sampled and \
         forced), written tokens, seconds and the length of a reply in characters are means over cases. Where several cases were asked of one store, the interval takes these \
         together.</p>\n{}",
        table(&header, rows, 3)
    )
}

pub(super) fn searches(runs: &Runs) -> String {
    if runs.searches.is_empty() {
        return String::new();
    }
    let mut rows = retrieval_rows(&runs.searches).into_iter();
    let header = rows.next().unwrap_or_default();
    format!(
        "<p>How good the store's own searches are without a model. R@k: the share of the right documents among the first \
         k hits, with the 95% interval of R@10. exact and hnsw are a scan of all vectors and the index of them: their \
         R@10 is of the 10 nearest that the scan finds.</p>\n{}",
        table(&header, rows, 3)
    )
}

pub(super) fn schemas(runs: &Runs) -> String {
    if runs.schemas.is_empty() {
        return String::new();
    }
    let summaries = GrammarSummary::all(&runs.schemas);
    let mut rows = grammar_rows(&summaries).into_iter();
    let header = rows.next().unwrap_or_default();
    let mut html = format!(
        "<p>What becomes of JSON schemas under token masks, without a model. A schema is right if it was compiled, and \
         every valid value passed and every invalid one was refused; values are those of schemas that were \
         compiled.</p>\n{}",
        table(&header, rows, 2)
    );
    for summary in &summaries {
        let title = schemas::title(&summary.source, &summary.model);
        let _ = write!(html, "<h3>{}</h3>\n<ul class=\"note\">", text(&title));
        for line in summary.details() {
            let _ = write!(html, "<li>{}</li>", text(&line));
        }
        html += "</ul>\n";
    }
    html
}

fn with_interval(value: f64, [low, high]: [f64; 2], of: &str) -> String {
    let of = if of.is_empty() { String::new() } else { format!(", {of}") };
    format!("{value:.2} ({low:.2}–{high:.2}{of})")
}

/// Writes a table; the first `n_words` columns stand left, and so do cells that are no numbers.
fn table(header: &[String], rows: impl Iterator<Item = Vec<String>>, n_words: usize) -> String {
    let cell = |tag: &str, column: usize, cell: &str| {
        let is_number = column >= n_words && cell.parse::<f64>().is_ok();
        let class = if is_number { " class=\"number\"" } else { "" };
        format!("<{tag}{class}>{}</{tag}>", text(cell))
    };
    let row = |tag: &str, cells: &[String]| {
        let cells: String = (0..).zip(cells).map(|(column, one)| cell(tag, column, one)).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let body: String = rows.map(|cells| row("td", &cells)).collect();
    format!(
        "<div class=\"scroll\"><table>\n<thead>\n{}</thead>\n<tbody>\n{body}</tbody>\n</table></div>\n",
        row("th", header)
    )
}
