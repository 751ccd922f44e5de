//! Where other people's reproducers are found: mails, bug trackers, commit messages,
//! terminals. Takes off what these add to each line (marks of quoting, of comments and of
//! Markdown, encodings of mails, prompts), so that the readers see the lines as they were.

/// A line of the text, as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number in the file, from 1.
    pub number: usize,
    /// What it says.
    pub text: String,
}

/// The lines of a file.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let decoded = decode_mail(text);
    let entities = decoded.iter().any(|(_, line)| line.contains("&lt;&lt;"));
    // Prose that ends with a line break of Markdown says the same as an escaped sign.
    let markdown = decoded.iter().any(|(_, line)| {
        line.contains("\\<\\<") || line.ends_with(":\\") && line.starts_with(char::is_uppercase)
    });
    let (mut in_comment, mut in_fence) = (false, false);
    let mut lines: Vec<Line> = Vec::with_capacity(decoded.len());
    let bars: Vec<bool> =
        decoded.iter().map(|(_, line)| line.trim_start().starts_with("| ")).collect();
    for (at, (number, line)) in decoded.iter().enumerate() {
        let mut text = if entities { decode_entities(line) } else { line.clone() };
        // A single line that begins with a bar is a pipeline that goes on.
        let neighbour = |at: Option<usize>| at.and_then(|at| bars.get(at)).copied();
        let quoted = bars[at]
            && (neighbour(at.checked_sub(1)) == Some(true)
                || neighbour(Some(at + 1)) == Some(true));
        text = without_quote_marks(&text, quoted).to_owned();
        if in_comment {
            let inner = text.trim_start();
            if let Some(inner) = inner.strip_prefix('*').filter(|rest| !rest.starts_with('/')) {
                text = inner.to_owned();
            }
        }
        in_comment = match (text.rfind("/*"), text.rfind("*/")) {
            (Some(begin), Some(end)) => begin > end,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => in_comment,
        };
        in_fence ^= text.trim_start().starts_with("```");
        text = without_markdown(&text, markdown && !in_fence);
        lines.push(Line { number: *number, text });
    }
    lines
}

/// Without the marks before the text of a mail that is answered.
fn without_quote_marks(line: &str, bars: bool) -> &str {
    let mut rest = line;
    loop {
        let inner = rest.trim_start();
        let Some(quoted) = inner.strip_prefix('>').or(inner.strip_prefix('|').filter(|_| bars))
        else {
            return rest;
        };
        rest = quoted.strip_prefix(' ').unwrap_or(quoted);
    }
}

/// Without what Markdown needs to show a line as it is. `escaped` says that the text was
/// written by an editor that escapes what has a meaning.
fn without_markdown(line: &str, escaped: bool) -> String {
    let mut text = line.trim_end();
    // A line break, after the end of code.
    if let Some(code) = text.strip_suffix("`\\") {
        text = &line[..code.len() + 1];
    }
    let inner = text.trim_start();
    let is_code = inner.len() > 1
        && inner.starts_with('`')
        && inner.ends_with('`')
        && !inner[1..inner.len() - 1].contains('`');
    if is_code {
        return inner[1..inner.len() - 1].to_owned();
    }
    if !escaped {
        return text.to_owned();
    }
    // A backslash that stands alone at the end breaks the line.
    let backslashes = text.len() - text.trim_end_matches('\\').len();
    if backslashes % 2 == 1 {
        text = &text[..text.len() - 1];
    }
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(&next) if c == '\\' && next.is_ascii_punctuation() => {
                plain.push(next);
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    without_links(&plain)
}

/// `[text](address)` becomes `text` where both are the same.
fn without_links(line: &str) -> String {
    let mut text = line.to_owned();
    while let Some(middle) = text.find("](") {
        let (before, after) = (&text[..middle], &text[middle + 2..]);
        let (Some(begin), Some(end)) = (before.rfind('['), after.find(')')) else { break };
        if before[begin + 1..] != after[..end] {
            break;
        }
        text = format!("{}{}{}", &before[..begin], &after[..end], &after[end + 1..]);
    }
    text
}

/// Lines with their numbers; those of a mail in the encoding quoted-printable decoded.
fn decode_mail(text: &str) -> Vec<(usize, String)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.to_owned()));
    let is_encoded = |line: &str| {
        let equals = line.matches("=3D").count() > 0;
        equals || line.ends_with('=') && line.len() > 70
    };
    if text.lines().filter(|line| is_encoded(line)).count() < 1 || !text.contains("=3D") {
        return lines.collect();
    }
    let mut decoded: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in lines {
        let soft = line.ends_with('=');
        let part = decode_equals(line.strip_suffix('=').unwrap_or(&line));
        match decoded.last_mut().filter(|_| goes_on) {
            Some((_, last)) => last.push_str(&part),
            None => decoded.push((number, part)),
        }
        goes_on = soft;
    }
    decoded
}

/// `=3D` and its like become the characters they stand for.
fn decode_equals(line: &str) -> String {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line.as_bytes();
    while let [first, more @ ..] = rest {
        let digits = more.get(..2).filter(|_| *first == b'=');
        let byte = digits.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            let upper = |c: char| c.is_ascii_digit() || ('A'..='F').contains(&c);
            digits.chars().all(upper).then(|| u8::from_str_radix(digits, 16).ok())?
        });
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn decode_entities(line: &str) -> String {
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    entities.iter().fold(line.to_owned(), |line, (name, plain)| line.replace(name, plain))
}

/// Without the prompt of a terminal, if there is one before a command.
pub(super) fn without_prompt(line: &str) -> &str {
    let line = line.trim_start();
    for prompt in ["$ ", "% "] {
        if let Some(command) = line.strip_prefix(prompt) {
            return command.trim_start();
        }
    }
    if let Some(command) = line.strip_prefix("# ").filter(|rest| rest.contains("qemu-system-")) {
        return command.trim_start();
    }
    // `user@host:folder$ command`, `➜ folder ✗ command`.
    let ends = ["✗ ", "$ ", "# ", "% "];
    let is_prompt = |head: &str| head.contains('➜') || head.contains('@') && !head.contains('|');
    let end = ends.iter().filter_map(|end| Some(line.find(end)? + end.len())).min();
    end.filter(|end| is_prompt(&line[..*end])).map_or(line, |end| line[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Vec<String> {
        lines(text).into_iter().map(|line| line.text).collect()
    }

    /// Would catch marks of quoting that hide a script, and a pipeline that is taken for
    /// such a mark.
    #[test]
    fn quotes() {
        assert_eq!(plain("> > cat << EOF\n>> inb 1\n"), ["cat << EOF", "inb 1"]);
        assert_eq!(plain("| > a\n| > b\n"), ["a", "b"]);
        assert_eq!(plain("cat x \\\n  | qemu\nend"), ["cat x \\", "  | qemu", "end"]);
    }

    /// Would catch the stars of a comment in C that become part of a script.
    #[test]
    fn comments_of_c() {
        assert_eq!(
            plain("/*\n * cat << EOF\n * EOF\n */\n*p = 1;"),
            ["/*", " cat << EOF", " EOF", " */", "*p = 1;"]
        );
    }

    /// Would catch what Markdown escapes, and line breaks that are taken for continued
    /// lines of a shell.
    #[test]
    fn markdown() {
        let text = "cat \\<\\< EOF | qemu \\\\\n\n\\-device x\\\ninb 1\\\nEOF\n";
        assert_eq!(plain(text), ["cat << EOF | qemu \\", "", "-device x", "inb 1", "EOF"]);
        assert_eq!(
            plain("`cat << EOF | qemu \\`\\\n`inb 1`\\\n"),
            ["cat << EOF | qemu \\", "inb 1"]
        );
        // What is fenced is as it stands.
        assert_eq!(
            plain("Arguments:\\\nx\\\n```\ny \\\n```\n"),
            ["Arguments:", "x", "```", "y \\", "```"]
        );
        assert_eq!(plain("\\<\\< file=[a://,b](a://,b) x"), ["<< file=a://,b x"]);
    }

    /// Would catch a mail whose encoding is taken for its text.
    #[test]
    fn quoted_printable() {
        let text = "-drive file=3Dnull-co://,id=\n=3Dd0\noutl 1 2";
        assert_eq!(plain(text), ["-drive file=null-co://,id=d0", "outl 1 2"]);
        assert_eq!(plain("a=b\n"), ["a=b"]);
        assert_eq!(plain("cat &lt;&lt; EOF &amp; x"), ["cat << EOF & x"]);
    }

    /// Would catch a prompt that is taken for the command.
    #[test]
    fn prompts() {
        assert_eq!(without_prompt("  $ qemu-system-arm -M x"), "qemu-system-arm -M x");
        assert_eq!(without_prompt("me@host:~/x$ ./qemu-system-arm"), "./qemu-system-arm");
        assert_eq!(without_prompt("➜  build git:(master) ✗ ./qemu -M x"), "./qemu -M x");
        assert_eq!(without_prompt("# qemu-system-arm"), "qemu-system-arm");
        assert_eq!(without_prompt("echo \"a$ b\" | x@y"), "echo \"a$ b\" | x@y");
    }
}
