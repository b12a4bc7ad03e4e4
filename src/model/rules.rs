//! [`Rules`]: the ignore rules and policies that travel with a release, so that a node deletes nothing they cover.

use super::codec::{Error, Reader, Result, Writer};
use super::limits::RULES_BYTES_MAX;
use super::path::TreePath;

/// Rules of one release. The syntax of `ignore` and of the files is gitignore's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Lines given by the operator (`--exclude`, `--exclude-from`); they stand above every file's.
    pub ignore: Vec<String>,
    /// The text of each `.depsyncignore`, with the directory it stands in; sorted by directory.
    pub files: Vec<(TreePath, String)>,
    /// Lines naming what a node keeps although the source has no such path.
    pub protect: Vec<String>,
}

impl Rules {
    /// True if there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.ignore.is_empty() && self.files.is_empty() && self.protect.is_empty()
    }

    /// Appends the rules to `writer`.
    pub fn encode(&self, writer: &mut Writer) {
        writer.list(&self.ignore, |writer, line| writer.text(line));
        writer.list(&self.files, |writer, (directory, text)| {
            writer.path(directory);
            writer.text(text);
        });
        writer.list(&self.protect, |writer, line| writer.text(line));
    }

    /// Reads what [`Rules::encode`] wrote.
    ///
    /// # Errors
    /// [`Error::NotCanonical`] if the directories are not strictly increasing; any error of the codec.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let ignore = reader.list(RULES_BYTES_MAX, |reader| reader.text(RULES_BYTES_MAX))?;
        let files = reader
            .list(RULES_BYTES_MAX, |reader| Ok((reader.path()?, reader.text(RULES_BYTES_MAX)?)))?;
        if !files.is_sorted_by(|(one, _), (other, _)| one < other) {
            return Err(Error::NotCanonical { what: reader.what() });
        }
        let protect = reader.list(RULES_BYTES_MAX, |reader| reader.text(RULES_BYTES_MAX))?;
        Ok(Self { ignore, files, protect })
    }
}
