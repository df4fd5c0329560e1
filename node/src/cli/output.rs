//! How results are printed.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::ProgressBar;
use serde::Serialize;

/// Prints a result on stdout: one JSON value, or what `text` makes of it for people.
pub(super) fn result<T: Serialize>(
    json: bool,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let mut shown = if json { serde_json::to_string_pretty(value)? } else { text(value) };
    if !shown.ends_with('\n') {
        shown.push('\n');
    }
    write(io::stdout().lock(), &shown)
}

/// Says something beside the result, on stderr.
pub(super) fn note(text: &str) {
    // A note that cannot be shown is not worth failing for.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes to a reader that may have seen enough: `quorate … | head` is no failure.
pub(super) fn write(mut stream: impl Write, text: &str) -> anyhow::Result<()> {
    match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Shows on a terminal that something is being waited for; draws nothing elsewhere.
pub(super) fn spinner(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(TICK);
    spinner
}

/// How often a spinner moves.
const TICK: Duration = Duration::from_millis(100);

/// A table without lines, for lists.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// `name  value` lines, values aligned.
pub(super) fn pairs<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.as_ref().len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{:width$}  {}\n", name.as_ref(), value.as_ref())).collect()
}

/// A path or word as a POSIX shell reads it back.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+:@%,=~".contains(character);
    if !text.is_empty() && text.chars().all(plain) && !text.starts_with('~') {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The rows of a table as text without the blanks at line ends.
pub(super) fn lines(table: &Table) -> String {
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted(Path::new("/srv/quorate/alice.pem")), "/srv/quorate/alice.pem");
        assert_eq!(quoted(Path::new("/srv/my net/a.pem")), "'/srv/my net/a.pem'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
        assert_eq!(quoted(Path::new("~x")), "'~x'");
        assert_eq!(quoted(Path::new("")), "''");
    }

    #[test]
    fn values_are_aligned() {
        assert_eq!(pairs(&[("a", "1"), ("long", "2")]), "a     1\nlong  2\n");
    }

    #[test]
    fn lists_have_no_lines_and_no_trailing_blanks() {
        let mut list = table(&["name", "pid"]);
        list.add_row(["node0", "7"]);
        assert_eq!(lines(&list), "NAME   PID\nnode0  7\n");
    }
}
