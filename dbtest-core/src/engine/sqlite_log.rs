//! SQLite's write-ahead log, read for what it says of the pages of its file: which of them were
//! written. Those, and no others, differ from the template when the log has been written into the
//! file, which the last connection does when it closes.
//!
//! The log starts with 32 bytes, and each frame in it, a page with 24 bytes before, with the page's
//! number: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

const HEAD: u64 = 32;
const FRAME_HEAD: u64 = 24;

/// The pages to put back, and how large one is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pages {
    size: u64,
    /// From 1.
    numbers: BTreeSet<u64>,
}

/// Whether the file has got from this log what it has: the log's own name went after the last write
/// to the file. A second log, of whoever opened the file later, was written into it after that.
#[cfg(unix)]
pub(super) fn is_last(log: &File, file: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (log, file) = (log.metadata()?, std::fs::metadata(file)?);
    let removed = (log.ctime(), log.ctime_nsec());
    Ok(log.nlink() == 1 && (file.mtime(), file.mtime_nsec()) <= removed)
}

/// Nothing tells here when a name was removed.
#[cfg(not(unix))]
pub(super) fn is_last(_log: &File, _file: &Path) -> std::io::Result<bool> {
    Ok(false)
}

/// The pages that stand in the log; `None` where others may have stood there, since the log was
/// begun anew, or where they are not of the template's size.
pub(super) fn pages(mut log: &File, mut template: &File) -> std::io::Result<Option<Pages>> {
    let mut head = [0; 20];
    template.read_exact(&mut head)?;
    let size = match u64::from(u16::from_be_bytes([head[16], head[17]])) {
        1 => 0x1_0000,
        size => size,
    };
    let length = log.metadata()?.len();
    if length < HEAD || size == 0 || !(length - HEAD).is_multiple_of(FRAME_HEAD + size) {
        return Ok(None);
    }
    let mut head = [0; HEAD as usize];
    log.read_exact(&mut head)?;
    let word =
        |at: usize| u64::from(u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
    let (page_size, begun_anew) = (word(8), word(12));
    if page_size != size || begun_anew != 0 {
        return Ok(None);
    }
    let mut numbers = BTreeSet::new();
    let mut at = HEAD;
    while at < length {
        let mut number = [0; 4];
        log.seek(SeekFrom::Start(at))?;
        log.read_exact(&mut number)?;
        numbers.insert(u64::from(u32::from_be_bytes(number)));
        at += FRAME_HEAD + size;
    }
    Ok(Some(Pages { size, numbers }))
}

/// Writes the template's pages of these numbers into the file, and those by which the file is shorter:
/// what cuts it off writes nothing of them into the log.
pub(super) fn restore(pages: &Pages, mut template: &File, mut file: &File) -> std::io::Result<()> {
    let size = pages.size;
    let (there, wanted) = (file.metadata()?.len() / size, template.metadata()?.len() / size);
    let written = pages.numbers.iter().copied().filter(|number| (1..=there.min(wanted)).contains(number));
    let mut page = vec![0; usize::try_from(size).unwrap_or_default()];
    for at in written.chain(there + 1..=wanted).map(|number| (number - 1) * size) {
        template.seek(SeekFrom::Start(at))?;
        template.read_exact(&mut page)?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&page)?;
    }
    file.set_len(wanted * size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 512;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("written");
        file.rewind().expect("rewound");
        file
    }

    fn template(pages: u8) -> File {
        let mut content: Vec<u8> = (1..=pages).flat_map(|page| [page; SIZE]).collect();
        content[16..18].copy_from_slice(&(SIZE as u16).to_be_bytes());
        file(&content)
    }

    fn log(size: u32, begun_anew: u32, frames: &[u32]) -> Vec<u8> {
        let mut log = vec![0; HEAD as usize];
        log[8..12].copy_from_slice(&size.to_be_bytes());
        log[12..16].copy_from_slice(&begun_anew.to_be_bytes());
        for page in frames {
            log.extend(page.to_be_bytes());
            log.extend([0; FRAME_HEAD as usize - 4 + SIZE]);
        }
        log
    }

    fn read(log: &[u8]) -> Option<Vec<u64>> {
        let pages = pages(&file(log), &template(3)).expect("read")?;
        Some(pages.numbers.into_iter().collect())
    }

    #[test]
    fn a_log_lists_the_pages_that_were_written() {
        assert_eq!(read(&log(512, 0, &[7, 2, 7])), Some(vec![2, 7]));
    }

    #[test]
    fn a_log_that_may_have_lost_some_is_not_believed() {
        assert_eq!(read(&[]), None, "it was cut off");
        assert_eq!(read(&log(512, 1, &[2])), None, "it was begun anew");
        assert_eq!(read(&log(1024, 0, &[2])), None, "pages of another size");
        let whole = log(512, 0, &[2]);
        assert_eq!(read(&whole[..whole.len() - 1]), None, "half a frame");
    }

    fn restored(numbers: &[u64], content: &[u8]) -> Vec<u8> {
        let changed = file(&content.iter().flat_map(|page| [*page; SIZE]).collect::<Vec<_>>());
        let pages = Pages { size: SIZE as u64, numbers: numbers.iter().copied().collect() };
        restore(&pages, &template(4), &changed).expect("restored");
        let mut now = Vec::new();
        (&changed).rewind().and_then(|()| (&changed).read_to_end(&mut now)).expect("read");
        assert_eq!(now.len(), 4 * SIZE);
        now.chunks(SIZE).map(|page| page[0]).collect()
    }

    #[test]
    fn the_templates_pages_come_back_and_the_others_go() {
        assert_eq!(restored(&[2, 6], &[1, 9, 3, 4, 9, 9]), [1, 2, 3, 4]);
    }

    #[test]
    fn pages_that_were_cut_off_come_back() {
        assert_eq!(restored(&[1, 3], &[9, 2]), [1, 2, 3, 4]);
    }
}
