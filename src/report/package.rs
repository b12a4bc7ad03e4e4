//! A release file that was written, as a sentence and as a line of JSON.

use serde::Serialize;

use super::figures;
use super::human::{self, Style};
use super::json;
use crate::hub::package::Packaged;

#[derive(Serialize)]
struct FileLine<'a> {
    r#type: &'static str,
    format_version: u32,
    file: &'a str,
    release: String,
    entries: u64,
    bytes: u64,
    content_bytes: u64,
    file_bytes: u64,
    notes: &'a [String],
}

/// The sentence on the file `name`.
pub fn text(name: &str, packaged: &Packaged) -> String {
    format!(
        "wrote {name}: release {}, {} entries, {} of files in {}\n",
        packaged.release.short(),
        figures::count(packaged.entries),
        figures::bytes(packaged.bytes),
        figures::bytes(packaged.written.file_bytes),
    )
}

/// What the operator should know of the source.
pub fn notes(packaged: &Packaged, style: Style) -> String {
    human::note_lines(&packaged.notes, style)
}

/// The same as a line of JSON.
pub fn line(name: &str, packaged: &Packaged) -> String {
    let Packaged { release, entries, bytes, written, notes } = packaged;
    let mut text = String::new();
    let line = FileLine {
        r#type: "release-file",
        format_version: json::FORMAT_VERSION,
        file: name,
        release: release.to_string(),
        entries: *entries,
        bytes: *bytes,
        content_bytes: written.content_bytes,
        file_bytes: written.file_bytes,
        notes,
    };
    json::push(&mut text, &line);
    text
}
