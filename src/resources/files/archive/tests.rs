//! What happens to a tree while its archive is made.

use super::*;
use crate::config::{Config, parse};
use crate::resources::files::tar::Archive;

/// More than one piece of the archive.
const LARGE_BYTES: usize = 8 << 20;

fn config(tree: &Path) -> Config {
    let text = format!("[repository]\nurl = \"file:///b\"\n[files.a]\npaths = [\"{}\"]\n", tree.display());
    parse(&text, Path::new("/c")).expect("a valid configuration")
}

/// Makes an archive, does something to the tree when the first piece of it is there, and returns the members: name, kind and first byte.
fn archive_during(tree: &Path, meanwhile: impl FnOnce()) -> Vec<(String, Kind, u8)> {
    let (sender, mut pieces) = mpsc::channel(1);
    let archiver = Archiver::new(sender, Progress::default());
    let section = config(tree).files().next().expect("a section").1.clone();
    let archiving = std::thread::spawn(move || archiver.run(&section));
    let mut bytes = pieces.blocking_recv().expect("the first piece");
    meanwhile();
    while let Some(piece) = pieces.blocking_recv() {
        bytes.extend_from_slice(&piece);
    }
    archiving.join().expect("the archiver ends").expect("an archive");
    members(&bytes, tree)
}

fn members(bytes: &[u8], tree: &Path) -> Vec<(String, Kind, u8)> {
    let (mut archive, mut members) = (Archive::new(bytes), Vec::new());
    while let Some(member) = archive.next_member().expect("a sound archive") {
        let mut first = 0;
        let note = |offset, piece: &[u8]| {
            first = if offset == 0 { piece[0] } else { first };
            Ok(())
        };
        archive.content(note).expect("a sound member");
        let name = member.path.strip_prefix(&stored_path(tree)[..]).expect("a member of the tree");
        members.push((String::from_utf8_lossy(name).into_owned(), member.kind, first));
    }
    members
}

#[test]
fn a_further_name_of_a_file_that_is_replaced_while_it_is_read_keeps_its_content() {
    let (scratch, beside) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let [a, b, new] = [scratch.path().join("a"), scratch.path().join("b"), beside.path().join("new")];
    fs::write(&a, vec![b'1'; LARGE_BYTES]).expect("write a file");
    fs::hard_link(&a, &b).expect("link");
    fs::write(&new, vec![b'2'; LARGE_BYTES]).expect("write a file");
    let members = archive_during(scratch.path(), || fs::rename(&new, &a).expect("replace a file"));
    let file = |name: &str, first| (name.to_owned(), Kind::File, first);
    // The last of a name is what is restored.
    assert_eq!(members[1..], [file("/a", b'1'), file("/a", b'2'), file("/b", b'1')]);
}

#[test]
fn a_file_that_gets_the_number_of_a_removed_one_is_no_name_of_it() {
    let scratch = tempfile::tempdir().expect("a directory");
    let [a, b, c] = ["a", "b", "c"].map(|name| scratch.path().join(name));
    fs::write(&a, b"1").expect("write a file");
    fs::hard_link(&a, &c).expect("link");
    fs::write(&b, vec![b'2'; LARGE_BYTES]).expect("write a file");
    let number = fs::metadata(&a).expect("a file").ino();
    let members = archive_during(scratch.path(), || {
        fs::remove_file(&a).and_then(|()| fs::remove_file(&c)).expect("remove the file");
        // Most file systems give the number away at once.
        let made = (0..100).map(|count| scratch.path().join(format!("d{count}"))).find(|path| {
            fs::write(path, b"3").expect("write a file");
            fs::metadata(path).expect("a file").ino() == number
        });
        fs::rename(made.unwrap_or_else(|| scratch.path().join("d0")), &c).expect("rename");
    });
    assert_eq!(members[3], ("/c".to_owned(), Kind::File, b'3'));
}
