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
