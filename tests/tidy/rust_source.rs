//! Rust source with everything blanked that is no code of the library: comments, literals, tests.

/// Returns `source` with comments, string and character literals replaced by blanks; lines stay.
pub(super) fn code(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => comment_end(&chars, at),
            '"' => string_end(&chars, at),
            'r' | 'b' | 'c' if !follows_word(&chars, at) => prefixed_end(&chars, at),
            '\'' => char_end(&chars, at),
            _ => at,
        };
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Returns `code` with every item blanked that is compiled only for tests.
pub(super) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        kept.push_str(&rest[..start]);
        let item = &rest[start..];
        let end = match item.find(['{', ';']) {
            Some(open) if item[open..].starts_with('{') => block_end(item, open),
            Some(semicolon) => semicolon + 1,
            None => item.len(),
        };
        kept.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    kept + rest
}

/// Returns the numbers of the lines, from 1, where `word` stands and is not part of a longer word.
pub(super) fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.lines()
        .enumerate()
        .filter(|(_, line)| {
            line.match_indices(word).any(|(at, _)| {
                // After a word that ends in punctuation, anything may follow.
                let may_go_on = !word.ends_with(is_word);
                let goes_on = line[at + word.len()..].starts_with(is_word);
                !line[..at].ends_with(is_word) && (may_go_on || !goes_on)
            })
        })
        .map(|(number, _)| number + 1)
        .collect()
}

fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n)
}

fn comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut end) = (0, at);
    while end < chars.len() {
        match (chars[end], chars.get(end + 1)) {
            ('/', Some('*')) => depth += 1,
            ('*', Some('/')) if depth == 1 => return end + 2,
            ('*', Some('/')) => depth -= 1,
            _ => {
                end += 1;
                continue;
            }
        }
        end += 2;
    }
    chars.len()
}

fn string_end(chars: &[char], quote: usize) -> usize {
    let mut end = quote + 1;
    while end < chars.len() {
        match chars[end] {
            '\\' => end += 2,
            '"' => return end + 1,
            _ => end += 1,
        }
    }
    chars.len()
}

/// The end of a literal such as `r#"…"#`, `b"…"`, `b'…'`, `cr"…"`; `at` itself if it is none.
fn prefixed_end(chars: &[char], at: usize) -> usize {
    let n_letters = chars[at..].iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let after = at + n_letters;
    let n_hashes = chars[after..].iter().take_while(|c| **c == '#').count();
    let is_raw = chars[at..after].contains(&'r');
    match chars.get(after + n_hashes) {
        Some('"') if is_raw => {
            let mut end = after + n_hashes + 1;
            while end < chars.len() {
                let hashes = chars[end + 1..].iter().take(n_hashes).filter(|c| **c == '#').count();
                end += 1;
                if chars[end - 1] == '"' && hashes == n_hashes {
                    return end + n_hashes;
                }
            }
            chars.len()
        }
        Some('"') if n_hashes == 0 => string_end(chars, after),
        Some('\'') if n_hashes == 0 && n_letters == 1 => char_end(chars, after),
        _ => at,
    }
}

/// The end of a character literal; `at` itself if the quote begins a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), Some(_)) => {
            let close = chars[at + 3..].iter().position(|c| *c == '\'');
            close.map_or(chars.len(), |n| at + 3 + n + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

#[test]
fn blanks_what_is_no_code() {
    let blanks = |source: &str, expected: &str| {
        let found = code(source);
        assert_eq!(found.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{source}");
        assert_eq!(found.lines().count(), source.lines().count(), "{source}");
    };
    blanks("a // b\nc /* d /* e */ f */ g", "a c g");
    blanks(r#"a("b \" c", 'd', '\'', '\u{1F600}')"#, "a( , , , )");
    blanks("fn f<'a>(x: &'a str) -> &'a str", "fn f<'a>(x: &'a str) -> &'a str");
    blanks("r#\"a \" b\"# + b\"c\" + br\"d\\\" + e", "+ + + e");
    blanks("b'\"' + bar(\"x\") + r#type", "+ bar( ) + r#type");
    blanks("let s = \"a\nb\"; t", "let s = ; t");
}

#[test]
fn blanks_what_is_only_for_tests() {
    let source = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod tests {\n  fn f() { c }\n}\nd";
    let found = without_tests(source);
    assert_eq!(found.split_whitespace().collect::<Vec<_>>(), ["a", "b", "d"]);
    assert_eq!(lines_with(&found, "d"), [9]);
}

#[test]
fn finds_whole_words() {
    assert_eq!(lines_with("eprint!(x)\nprint!(y)\nsafe\nunsafe {\nunsafe_code", "print!"), [2]);
    assert_eq!(lines_with("eprint!(x)\nprint!(y)\nsafe\nunsafe {\nunsafe_code", "unsafe"), [4]);
}
