//! Rust sources as text: enough of the language to tell code from comments and literals, and to find paths,
//! functions and test modules in it.

pub fn line_of(text: &str, word: &str) -> Option<usize> {
    text.match_indices(word)
        .find(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .map(|(at, _)| text[..at].lines().count().max(1))
}

/// The rooms that `crate::…` paths name, each with its line; `use crate::{a, b::c}` names two.
pub fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, word) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$')) {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + word.len()..];
        match rest.strip_prefix('{') {
            None => found.push((line, identifier(rest).to_owned())),
            Some(group) => found.extend(group_heads(group).into_iter().map(|head| (line, head))),
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

/// The first identifier of each member of a `use` group, given from behind its opening brace.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut heads) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                heads.push(identifier(group[start..at].trim_start()).to_owned());
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    heads
}

pub fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Each function with its line, its name and the lines from its `fn` to its closing brace.
pub fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for (at, word) in code.match_indices("fn ") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let name = identifier(&code[at + word.len()..]);
        let Some(open) = code[at..].find(['{', ';']).map(|offset| at + offset) else { continue };
        if name.is_empty() || code.as_bytes()[open] == b';' {
            continue;
        }
        let end = closing_brace(code, open);
        let line = code[..at].matches('\n').count() + 1;
        found.push((line, name.to_owned(), code[at..end].matches('\n').count() + 1));
    }
    found
}

/// The end of the block that opens at `open`.
fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The rows `NAME = "word";` of a table of codes, literals blanked.
pub fn code_constants(code: &str) -> Vec<(usize, String)> {
    code.lines()
        .enumerate()
        .filter_map(|(number, line)| {
            let (name, _) = line.trim().split_once(" =")?;
            let constant = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            (constant && !name.is_empty()).then(|| (number + 1, name.to_owned()))
        })
        .collect()
}

/// `text` without its `#[cfg(test)]` modules, found in `code`, which has the same places.
pub fn without_tests(code: &str, text: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let (mut out, mut from) = (String::new(), 0);
    while let Some(at) = code[from..].find(MARK).map(|offset| from + offset) {
        out.push_str(&text[from..at]);
        let end = code[at..].find(['{', ';']).map_or(code.len(), |offset| at + offset);
        from = if code.as_bytes().get(end) == Some(&b'{') { closing_brace(code, end) } else { end };
    }
    out.push_str(&text[from..]);
    out
}

/// Blanks comments, and literals if asked; every byte keeps its place, every line its number.
pub fn blank(text: &str, literals: bool) -> String {
    let mut out = text.as_bytes().to_vec();
    let mut at = 0;
    while at < text.len() {
        let (end, is_literal) = token(text, at);
        let literal = is_literal == Some(true);
        if is_literal.is_some() && (!literal || literals) {
            for byte in out[at..end].iter_mut().filter(|byte| **byte != b'\n') {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("invariant: whole characters were blanked")
}

/// The end of what starts at `at`, and whether it is a literal, a comment (`Some(false)`) or neither.
fn token(text: &str, at: usize) -> (usize, Option<bool>) {
    let rest = &text[at..];
    let until = |end: Option<usize>| at + end.unwrap_or(rest.len());
    if rest.starts_with("//") {
        return (until(rest.find('\n')), Some(false));
    }
    if rest.starts_with("/*") {
        return (until(rest.find("*/").map(|end| end + 2)), Some(false));
    }
    let first = rest.chars().next().expect("invariant: within the text");
    match first {
        '"' => (until(string_end(rest)), Some(true)),
        'r' if !text[..at].ends_with(|c: char| c.is_alphanumeric() && c != 'b' || c == '_') => {
            let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
            if rest.as_bytes().get(1 + hashes) != Some(&b'"') {
                return (at + 1, None);
            }
            let close = format!("\"{}", "#".repeat(hashes));
            let inner = hashes + 2;
            (until(rest[inner..].find(&close).map(|end| inner + end + close.len())), Some(true))
        }
        '\'' => match rest[1..].chars().next() {
            Some('\\') => (until(rest[3..].find('\'').map(|end| end + 4)), Some(true)),
            Some(c) if rest[1 + c.len_utf8()..].starts_with('\'') => (at + 2 + c.len_utf8(), Some(true)),
            _ => (at + 1, None),
        },
        _ => (at + first.len_utf8(), None),
    }
}

/// Behind the closing quote of the string that `rest` opens with.
fn string_end(rest: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The modules in files of their own that are compiled for tests alone.
pub fn test_modules(code: &str) -> Vec<String> {
    code.split("#[cfg(test)]")
        .skip(1)
        .filter_map(|rest| rest.lines().nth(1)?.split_once("mod "))
        .map(|(_, rest)| rest)
        .filter(|rest| rest[identifier(rest).len()..].starts_with(';'))
        .map(|rest| identifier(rest).to_owned())
        .collect()
}

#[test]
fn the_reader_of_sources_sees_code_and_nothing_else() {
    let source = r##"use crate::{a, b::{c, d}}; // crate::e
        fn long<'a>(x: &'a str) -> char { let _ = ("crate::f }", r#"crate::g"#, '}', '\'', b'"'); 'x' }
        #[cfg(test)]
        mod tests { fn t() { crate::h(); } }
        fn next() {}"##;
    let code = without_tests(&blank(source, true), &blank(source, true));
    let rooms: Vec<String> = crate_paths(&code).into_iter().map(|(_, room)| room).collect();
    assert_eq!(rooms, ["a", "b"]);
    let names: Vec<String> = functions(&code).into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(names, ["long", "next"]);
}
