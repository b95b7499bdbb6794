//! What happened in each case, to be opened one by one; no more of it than a page can hold.

use std::fmt::Write;

use pagewise_core::Status;

use super::escape::{long_text, text};
use crate::memory::case::GameTask;
use crate::memory::record::{EventRecord, Record, Step};
use crate::memory::runs::{Cell, Runs};
use crate::memory::score::GameTaskScore;

/// The most that all cases together take, in bytes.
const CASES_BYTES_MAX: usize = 32 << 20;

/// Writes the cases of all cells.
pub(super) fn cases(runs: &Runs) -> String {
    let cells: Vec<(&Cell, Vec<String>)> =
        runs.cells.iter().map(|cell| (cell, in_order(cell))).collect();
    let lengths = cells.iter().map(|(_, cases)| cases.iter().map(String::len).sum()).collect();
    let bytes_max = fair_share(lengths, CASES_BYTES_MAX);
    cells.iter().map(|(cell, cases)| cell_with_cases(cell, cases, bytes_max)).collect()
}

/// The most that one may take of `in_all`, if what some do not need is left to the others.
fn fair_share(mut wanted: Vec<usize>, in_all: usize) -> usize {
    wanted.sort_unstable();
    let mut left = in_all;
    for (place, one) in wanted.iter().enumerate() {
        let share = left / (wanted.len() - place);
        if *one > share {
            return share;
        }
        left -= one;
    }
    in_all
}

/// Writes each case of a cell. What is wrong tells more: it comes first, and is left out last.
fn in_order(cell: &Cell) -> Vec<String> {
    let (right, wrong): (Vec<&Record>, Vec<&Record>) =
        cell.records.iter().partition(|record| record.score.correct);
    wrong.into_iter().chain(right).map(case).collect()
}

fn cell_with_cases(cell: &Cell, cases: &[String], bytes_max: usize) -> String {
    let n = cases.len();
    let n_right = cell.records.iter().filter(|record| record.score.correct).count();
    let mut html = format!(
        "<details class=\"cell\"><summary class=\"top\">{} <span class=\"note\">{n_right} of {n} right</span></summary>\n",
        text(&cell.title())
    );
    let (mut n_bytes, mut n_left_out) = (0, 0);
    for one in cases {
        if n_bytes + one.len() > bytes_max {
            n_left_out += 1;
        } else {
            n_bytes += one.len();
            html += one;
        }
    }
    if n_left_out > 0 {
        let _ = writeln!(
            html,
            "<p class=\"note\">{n_left_out} of {n} cases are left out, which would make this page too large; \
             the records have them.</p>"
        );
    }
    html + "</details>\n"
}

fn case(record: &Record) -> String {
    let case = &record.case;
    let verdict = if record.score.correct { "right" } else { "wrong" };
    let labels: Vec<String> =
        case.labels.iter().map(|(label, value)| format!("{label} {value}")).collect();
    let class = match record.score.correct {
        true => String::new(),
        false => format!(" <b>{}</b>", record.failure.name()),
    };
    let mut html = format!(
        "<details class=\"case {verdict}\"><summary><code>{}</code> <span class=\"{verdict}\">{verdict}</span>{class} \
         <span class=\"note\">{} · {:.1} s</span></summary>\n<dl>",
        text(&case.id),
        text(&labels.join(", ")),
        record.seconds
    );
    if case.tasks.is_empty() {
        pair(&mut html, "right answer", &case.gold.answers.join("\n"));
    } else {
        pair(&mut html, "tasks", &tasks(record));
    }
    pair(&mut html, "reply", &record.reply);
    if let Some(error) = &record.error {
        pair(&mut html, "failed", error);
    }
    let parts: Vec<String> =
        record.score.parts.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
    pair(&mut html, "scores", &parts.join(", "));
    for judgement in &record.judged {
        let said = if judgement.accepts { "accepts" } else { "refuses" };
        pair(&mut html, "judge", &format!("{} {said} it", judgement.judge.judge));
    }
    if let Some(prompt) = &record.prompt {
        let has = if prompt.has_evidence { "with" } else { "without" };
        let said = format!(
            "{} tokens, {} of {} pieces, {has} what had to be read",
            prompt.tokens, prompt.n_pieces, prompt.n_pieces_all
        );
        pair(&mut html, "prompt", &said);
    }
    if !case.gold.evidence.is_empty() {
        pair(&mut html, "to be read", &case.gold.evidence.join("\n"));
    }
    let tokens = record.tokens;
    let said = format!(
        "{} read, {} from the cache, {} sampled, {} forced",
        tokens.prefilled, tokens.reused, tokens.generated, tokens.forced
    );
    pair(&mut html, "tokens", &said);
    html += "</dl>\n";
    if let Some(told) = record.told.as_ref().filter(|told| !told.turns.is_empty()) {
        let (n, n_turns) = (told.n_conversations, told.turns.len());
        let _ = write!(
            html,
            "<details><summary>What was told before: {n} conversations, {n_turns} messages</summary>\n\
             <ol class=\"trajectory\">\n"
        );
        for turn in &told.turns {
            html += &message_of_user(&turn.text);
            html += &came_of_it(&turn.event);
        }
        html += "</ol></details>\n";
    }
    html += "<ol class=\"trajectory\">\n";
    for (number, message) in case.messages.iter().enumerate() {
        if message.after_reset {
            html += "<li class=\"reset\">the queue is emptied</li>\n";
        }
        html += &message_of_user(&message.text);
        // A prompt without an agent is one, however many messages there are.
        let event = match record.prompt {
            Some(_) if number + 1 == case.messages.len() => record.events.last(),
            Some(_) => None,
            None => record.events.get(number),
        };
        html += &event.map(came_of_it).unwrap_or_default();
    }
    html += "</ol>\n";
    if !record.blocks.is_empty() {
        html += "<dl>";
        for block in &record.blocks {
            pair(&mut html, &format!("block {}", block.label), &block.value);
        }
        html += "</dl>\n";
    }
    html + "</details>\n"
}

/// The tasks of a game, a line each: the right answer, and what became of it.
fn tasks(record: &Record) -> String {
    let line = |(number, (task, score)): (usize, (&GameTask, &GameTaskScore))| {
        let became = if score.correct { "done" } else { score.failure.name() };
        format!("{}. {}: {became}", number + 1, task.gold.answers.join(" or "))
    };
    let tasks = record.case.tasks.iter().zip(&record.score.tasks).enumerate();
    tasks.map(line).collect::<Vec<String>>().join("\n")
}

fn message_of_user(message: &str) -> String {
    format!("<li class=\"said\"><span>user</span><pre>{}</pre></li>\n", long_text(message))
}

/// What came of a message: decisions, calls, replies, and what left main context.
fn came_of_it(event: &EventRecord) -> String {
    let mut html = String::new();
    if let Some(plan) = &event.plan {
        let decided = serde_json::to_string(plan).unwrap_or_default();
        let _ = writeln!(html, "<li class=\"reset\">decided: {}</li>", long_text(&decided));
    }
    event.steps.iter().for_each(|one| html += &step(one));
    // Without an agent, a reply is no call.
    for reply in event.replies.iter().filter(|_| event.steps.is_empty()) {
        let said = long_text(reply);
        let _ = writeln!(html, "<li class=\"reply\"><span>reply</span><pre>{said}</pre></li>");
    }
    if event.evicted > 0 {
        let n = event.evicted;
        let _ = writeln!(html, "<li class=\"reset\">{n} messages left main context</li>");
    }
    html
}

fn step(step: &Step) -> String {
    let is_reply = step.function == "send_message";
    let class = if is_reply { "reply" } else { "call" };
    let arguments: Vec<String> =
        step.arguments.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let by = match () {
        () if step.by_runtime => ", by the runtime",
        () if step.is_without_choice() => ", nothing to choose",
        () => "",
    };
    let status = match step.status {
        Status::Ok => "",
        Status::Failed => ", failed",
    };
    let offered = match step.functions.as_slice() {
        [] => String::new(),
        names => format!(" title=\"offered: {}\"", text(&names.join(", "))),
    };
    let mut html = format!(
        "<li class=\"{class}\"><span{offered}>{}</span><pre>{}</pre><small>{:.1} s, {} sampled, {} forced{by}{status}</small>",
        text(&step.function),
        long_text(&arguments.join("\n")),
        step.seconds,
        step.tokens.generated,
        step.tokens.forced,
    );
    if !is_reply && !step.result.is_empty() {
        let _ = write!(html, "<pre class=\"result\">{}</pre>", long_text(&step.result));
    }
    html + "</li>\n"
}

fn pair(html: &mut String, name: &str, value: &str) {
    let _ = write!(html, "<dt>{}</dt><dd>{}</dd>", text(name), long_text(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_do_not_need_is_left_to_the_others() {
        assert_eq!(fair_share(vec![10, 100, 30], 90), 50);
        assert_eq!(fair_share(vec![10, 100, 200], 90), 40);
        assert_eq!(fair_share(vec![50, 50], 90), 45);
        assert_eq!(fair_share(vec![10, 20], 90), 90);
        assert_eq!(fair_share(Vec::new(), 90), 90);
    }
}
