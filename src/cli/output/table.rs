//! Tables for people.

use comfy_table::{Table, presets};

/// A table with a line of headings.
pub(in crate::cli) fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let text = table(&["id", "size"], [vec!["a".into(), "1".into()], vec!["long".into(), "22".into()]]);
        let column = |line: &str, word: &str| line.find(word);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(column(lines[0], "size"), column(lines[2], "22"), "{text}");
    }
}
