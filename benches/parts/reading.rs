//! Sources read from a tree.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use depsync::scan::Progress;
use depsync::scan::index::Index;
use depsync::source::{self, Options, Source};

/// Reads the source at `root`, of which `index` may know something.
pub(crate) fn read(root: &Path, index: &Arc<Index>) -> Source {
    let (progress, stop) = (Progress::default(), AtomicBool::new(false));
    source::read(&Options::new(root), index, &progress, &stop).expect("a source")
}

/// The source at `root`, in which all that was just made has become old enough for its time stamps to be trusted, and
/// its index.
pub(crate) fn settled(root: &Path) -> (Source, Arc<Index>) {
    let mut index = Arc::<Index>::default();
    loop {
        let source = read(root, &index);
        let bytes = source.write_index(Vec::new()).expect("in memory");
        index = Arc::new(Index::from_bytes(bytes, source.identity.root).expect("own bytes"));
        if !source.is_news {
            return (source, index);
        }
    }
}
