use super::*;
use std::{env, os::unix::fs::PermissionsExt, sync::LazyLock, thread, time::Duration};

static ENGINE: LazyLock<wasmtime::Engine> = LazyLock::new(wasmtime::Engine::default);
const COMPONENT: Digest = [7; 32];
const CODE: &[u8] = b"what a compiler made";

/// A folder of the test's own.
fn folder(name: &str) -> PathBuf {
    let folder = env::temp_dir().join(format!("tollgate-cache-{}-{name}", std::process::id()));
    let _was_not_there = fs::remove_dir_all(&folder);
    folder
}

/// A cache with the code in it, and the code's file.
fn filled(name: &str) -> (Cache, PathBuf) {
    let cache = Cache::new(&folder(name), &ENGINE);
    assert_eq!(cache.load(&COMPONENT), None);
    cache.keep(&COMPONENT, CODE).unwrap();
    assert_eq!(cache.load(&COMPONENT).as_deref(), Some(CODE));
    let path = cache.path(&cache.key(&COMPONENT));
    (cache, path)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_kept_is_for_one_component_and_one_engine() {
    let (cache, path) = filled("kept");
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(cache.folder.metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(cache.load(&[8; 32]), None);
    let engine = wasmtime::Engine::new(wasmtime::Config::new().epoch_interruption(true)).unwrap();
    assert_eq!(Cache::new(&cache.folder, &engine).load(&COMPONENT), None);
    assert_eq!(Cache::new(&cache.folder, &ENGINE).load(&COMPONENT).as_deref(), Some(CODE));
    // Another component's code below this one's name is not this one's.
    fs::rename(&path, cache.path(&cache.key(&[8; 32]))).unwrap();
    assert_eq!(cache.load(&[8; 32]), None);
    fs::remove_dir_all(&cache.folder).unwrap();
}

#[test]
fn a_damaged_file_is_made_again() {
    let (cache, path) = filled("damaged");
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(cache.load(&COMPONENT), None, "{length} bytes of it");
    }
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(cache.load(&COMPONENT), None, "byte {place}");
    }
    cache.keep(&COMPONENT, CODE).unwrap();
    assert_eq!(cache.load(&COMPONENT).as_deref(), Some(CODE));
    fs::remove_dir_all(&cache.folder).unwrap();
}

#[test]
fn what_others_may_have_written_is_not_run() {
    let (cache, path) = filled("others");
    for mode in [0o620, 0o602] {
        set_mode(&path, mode);
        assert_eq!(cache.load(&COMPONENT), None, "{mode:o}");
    }
    set_mode(&path, 0o600);
    for mode in [0o770, 0o707] {
        set_mode(&cache.folder, mode);
        assert_eq!(cache.load(&COMPONENT), None, "{mode:o}");
        let error = cache.keep(&[8; 32], CODE).unwrap_err();
        assert_eq!(error.to_string(), "the folder may be written by other users");
    }
    set_mode(&cache.folder, 0o700);
    assert_eq!(cache.load(&[8; 32]), None, "it was not written either");
    assert_eq!(cache.load(&COMPONENT).as_deref(), Some(CODE));

    let elsewhere = cache.folder.join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert_eq!(cache.load(&COMPONENT), None, "a link is followed nowhere");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(cache.load(&COMPONENT), None, "a folder is no file");
    fs::remove_dir_all(&cache.folder).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_costs_nothing_but_time() {
    let folder = folder("unwritable");
    fs::write(&folder, b"a file in its place").unwrap();
    let cache = Cache::new(&folder, &ENGINE);
    cache.keep(&COMPONENT, CODE).unwrap_err();
    assert_eq!(cache.load(&COMPONENT), None);
    fs::remove_file(&folder).unwrap();
}

#[test]
fn what_was_longest_unused_makes_room() {
    let (mut cache, path) = filled("room");
    let bytes = path.metadata().unwrap().len();
    cache.bytes_max = 3 * bytes;
    let [second, third, fourth] = [[8; 32], [9; 32], [10; 32]];
    let made = |component: &Digest, seconds| {
        let file = File::open(cache.path(&cache.key(component))).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    cache.keep(&second, CODE).unwrap();
    cache.keep(&third, CODE).unwrap();
    fs::write(cache.folder.join("somebody's.cwasm"), vec![0; 10_000]).unwrap();
    for (seconds, component) in [(1, &COMPONENT), (2, &second), (3, &third)] {
        made(component, seconds);
    }
    assert!(cache.load(&COMPONENT).is_some(), "the oldest, and in use");
    cache.keep(&fourth, CODE).unwrap();
    assert_eq!(cache.load(&second), None);
    for kept in [&COMPONENT, &third, &fourth] {
        assert!(cache.load(kept).is_some());
    }
    assert!(cache.folder.join("somebody's.cwasm").exists());
    fs::remove_dir_all(&cache.folder).unwrap();
}

#[test]
fn many_starts_at_once_leave_one_whole_file() {
    let folder = folder("concurrent");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let cache = Cache::new(&folder, &ENGINE);
                for _ in 0..20 {
                    cache.keep(&COMPONENT, CODE).unwrap();
                    assert_eq!(cache.load(&COMPONENT).as_deref(), Some(CODE));
                }
            });
        }
    });
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no drafts are left");
    fs::remove_dir_all(&folder).unwrap();
}

/// Containers that share a folder have processes of the same number, which did as much.
#[test]
fn the_drafts_of_another_are_neither_in_the_way_nor_removed() {
    let (cache, path) = filled("drafts");
    let drafts: Vec<_> =
        (0..10_000).map(|n| path.with_extension(format!("{}-{n}", std::process::id()))).collect();
    drafts.iter().for_each(|draft| fs::write(draft, b"begun").unwrap());
    fs::remove_file(&path).unwrap();
    cache.keep(&COMPONENT, CODE).unwrap();
    assert_eq!(cache.load(&COMPONENT).as_deref(), Some(CODE));
    assert!(drafts.iter().all(|draft| draft.exists()));
    fs::remove_dir_all(&cache.folder).unwrap();
}
