//! WASI as plugins have it: there, and empty.
//!
//! The standard libraries of many languages name interfaces of WASI that a plugin never calls, or calls
//! once at its start. Each one is defined as the component names it, whatever its version. What asks for the
//! environment gets none; what is written to stdout or stderr goes to the plugin's log, so that the message
//! of a panic is seen; clocks and random numbers are real; whoever waits is told that it has waited, so
//! that no guest holds a thread. Everything else ends the call: there are no files and there is no network.

use super::state::{LINE_CHARACTERS_MAX, Said, State, Stop};
use std::{
    sync::LazyLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use wasmtime::{
    StoreContextMut,
    component::{Component, Linker, ResourceAny, ResourceDynamic, ResourceType, Val, types::ComponentItem},
};

/// Nanoseconds since 1970.
pub(super) fn wall_nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds since the first call of it.
fn monotonic_nanoseconds() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    crate::clock::nanoseconds(ORIGIN.elapsed())
}

/// Defines every interface of WASI that a component imports.
pub(super) fn define(linker: &mut Linker<State>, component: &Component) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    for (name, import) in component.component_type().imports(&engine) {
        let ComponentItem::ComponentInstance(interface) = import.ty else { continue };
        let Some(unversioned) = unversioned(name) else { continue };
        let mut instance = linker.instance(name)?;
        for (item, export) in interface.exports(&engine) {
            match export.ty {
                ComponentItem::Resource(_) => {
                    instance.resource(item, ResourceType::host_dynamic(kind_of(item)), |_, _| Ok(()))?;
                }
                ComponentItem::ComponentFunc(_) => match function(unversioned, item) {
                    Some(function) => instance.func_new(item, move |mut store, _, params, results| {
                        let result = function(&mut store, params)?;
                        if let (Some(place), Some(result)) = (results.first_mut(), result) {
                            *place = result;
                        }
                        Ok(())
                    })?,
                    None => {
                        let called = format!("{unversioned}#{item}");
                        instance.func_new(item, move |_, _, _, _| Err(absent(&called)))?;
                    }
                },
                _ => {}
            }
        }
    }
    Ok(())
}

/// `wasi:io/streams` of `wasi:io/streams@0.2.6`; none, where it is not WASI's.
pub(super) fn unversioned(import: &str) -> Option<&str> {
    let name = import.split_once('@').map_or(import, |(name, _)| name);
    name.starts_with("wasi:").then_some(name)
}

/// A function that ends the call.
fn absent(called: &str) -> wasmtime::Error {
    let what = match called.split(['/', '#']).next().unwrap_or_default() {
        "wasi:filesystem" => "plugins have no files",
        "wasi:sockets" | "wasi:http" => "plugins have no network",
        _ => "plugins do not have it",
    };
    wasmtime::Error::msg(format!("it called `{called}`: {what}"))
}

/// Types of resources. Those of the same name in several versions are the same.
const INPUT: u32 = 1;
const OUTPUT: u32 = 2;
const POLLABLE: u32 = 3;
const ERROR: u32 = 4;

fn kind_of(resource: &str) -> u32 {
    match resource {
        "input-stream" => INPUT,
        "output-stream" => OUTPUT,
        "pollable" => POLLABLE,
        "error" => ERROR,
        // There is never one of these: what would make it ends the call.
        other => {
            other.bytes().fold(1 << 16, |hash: u32, byte| hash.rotate_left(5) ^ u32::from(byte)) | (1 << 16)
        }
    }
}

/// What the number of an output stream means.
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

type Function = fn(&mut StoreContextMut<'_, State>, &[Val]) -> wasmtime::Result<Option<Val>>;

/// What a function does; none, where it ends the call.
fn function(interface: &str, name: &str) -> Option<Function> {
    Some(match (interface, name) {
        ("wasi:cli/environment", "get-environment" | "get-arguments")
        | ("wasi:filesystem/preopens", "get-directories") => |_, _| Ok(Some(Val::List(Vec::new()))),
        ("wasi:cli/environment", "initial-cwd" | "get-initial-cwd")
        | ("wasi:cli/terminal-stdin", "get-terminal-stdin")
        | ("wasi:cli/terminal-stdout", "get-terminal-stdout")
        | ("wasi:cli/terminal-stderr", "get-terminal-stderr") => |_, _| Ok(Some(Val::Option(None))),
        ("wasi:filesystem/types", "filesystem-error-code") => |store, params| {
            release(store, params)?;
            Ok(Some(Val::Option(None)))
        },
        ("wasi:cli/exit", _) => |_, _| Err(Stop::Exit.into()),
        ("wasi:cli/stdin", "get-stdin") => |store, _| own(store, INPUT, 0),
        ("wasi:cli/stdout", "get-stdout") => |store, _| own(store, OUTPUT, STDOUT),
        ("wasi:cli/stderr", "get-stderr") => |store, _| own(store, OUTPUT, STDERR),

        ("wasi:io/error", "[method]error.to-debug-string") => |store, params| {
            release(store, params)?;
            Ok(Some(Val::String("error".to_owned())))
        },
        ("wasi:io/poll", "[method]pollable.ready") => |store, params| {
            release(store, params)?;
            Ok(Some(Val::Bool(true)))
        },
        ("wasi:io/poll", "[method]pollable.block") => |store, params| {
            release(store, params)?;
            Ok(None)
        },
        ("wasi:io/poll", "poll") => |store, params| {
            let count = match params.first() {
                Some(Val::List(pollables)) => pollables.len(),
                _ => 0,
            };
            release(store, params)?;
            let ready = (0..u32::try_from(count).unwrap_or(u32::MAX)).map(Val::U32);
            Ok(Some(Val::List(ready.collect())))
        },
        ("wasi:clocks/monotonic-clock", "subscribe-instant" | "subscribe-duration")
        | ("wasi:io/streams", "[method]input-stream.subscribe" | "[method]output-stream.subscribe") => {
            |store, params| {
                release(store, params)?;
                own(store, POLLABLE, 0)
            }
        }

        (
            "wasi:io/streams",
            "[method]input-stream.read"
            | "[method]input-stream.blocking-read"
            | "[method]input-stream.skip"
            | "[method]input-stream.blocking-skip"
            | "[method]output-stream.splice"
            | "[method]output-stream.blocking-splice",
        ) => |store, params| {
            release(store, params)?;
            let closed = Val::Variant("closed".to_owned(), None);
            Ok(Some(Val::Result(Err(Some(Box::new(closed))))))
        },
        ("wasi:io/streams", "[method]output-stream.check-write") => |store, params| {
            release(store, params)?;
            Ok(Some(Val::Result(Ok(Some(Box::new(Val::U64(4096)))))))
        },
        (
            "wasi:io/streams",
            "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush",
        ) => write,
        (
            "wasi:io/streams",
            "[method]output-stream.flush"
            | "[method]output-stream.blocking-flush"
            | "[method]output-stream.write-zeroes"
            | "[method]output-stream.blocking-write-zeroes-and-flush",
        ) => |store, params| {
            release(store, params)?;
            Ok(Some(Val::Result(Ok(None))))
        },

        ("wasi:clocks/monotonic-clock", "now") => |_, _| Ok(Some(Val::U64(monotonic_nanoseconds()))),
        ("wasi:clocks/monotonic-clock", "resolution") => |_, _| Ok(Some(Val::U64(1))),
        ("wasi:clocks/wall-clock", "now") => |_, _| Ok(Some(datetime(wall_nanoseconds()))),
        ("wasi:clocks/wall-clock", "resolution") => |_, _| Ok(Some(datetime(1))),

        ("wasi:random/random", "get-random-bytes")
        | ("wasi:random/insecure", "get-insecure-random-bytes") => |_, params| {
            let length = match params.first() {
                Some(Val::U64(length)) => *length,
                _ => 0,
            };
            if length > RANDOM_BYTES_MAX {
                return Err(Stop::Random(length).into());
            }
            let mut bytes = vec![0; length as usize];
            fill_random(&mut bytes)?;
            Ok(Some(Val::List(bytes.into_iter().map(Val::U8).collect())))
        },
        ("wasi:random/random", "get-random-u64") | ("wasi:random/insecure", "get-insecure-random-u64") => {
            |_, _| Ok(Some(Val::U64(random_number()?)))
        }
        ("wasi:random/insecure-seed", "insecure-seed" | "get-insecure-seed") => {
            |_, _| Ok(Some(Val::Tuple(vec![Val::U64(random_number()?), Val::U64(random_number()?)])))
        }
        _ => return None,
    })
}

/// What a guest gets at once: more than any seed.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

fn fill_random(bytes: &mut [u8]) -> wasmtime::Result<()> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| wasmtime::Error::msg("the host has no random numbers"))
}

fn random_number() -> wasmtime::Result<u64> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn datetime(nanoseconds: u64) -> Val {
    const SECOND: u64 = 1_000_000_000;
    Val::Record(vec![
        ("seconds".to_owned(), Val::U64(nanoseconds / SECOND)),
        ("nanoseconds".to_owned(), Val::U32((nanoseconds % SECOND) as u32)),
    ])
}

/// A new handle for the guest. How many it may have is the store's limit.
fn own(store: &mut StoreContextMut<'_, State>, kind: u32, number: u32) -> wasmtime::Result<Option<Val>> {
    let resource = ResourceDynamic::new_own(number, kind).try_into_resource_any(store)?;
    Ok(Some(Val::Resource(resource)))
}

/// Gives back what a guest lent: a call that keeps it is an error.
fn release(store: &mut StoreContextMut<'_, State>, params: &[Val]) -> wasmtime::Result<()> {
    for param in params {
        match param {
            Val::Resource(resource) => {
                number_of(store, *resource)?;
            }
            Val::List(items) if matches!(items.first(), Some(Val::Resource(_))) => release(store, items)?,
            _ => {}
        }
    }
    Ok(())
}

fn number_of(store: &mut StoreContextMut<'_, State>, resource: ResourceAny) -> wasmtime::Result<u32> {
    Ok(ResourceDynamic::try_from_resource_any(resource, store)?.rep())
}

fn write(store: &mut StoreContextMut<'_, State>, params: &[Val]) -> wasmtime::Result<Option<Val>> {
    if let [Val::Resource(stream), Val::List(contents)] = params {
        let number = number_of(store, *stream)?;
        let State { streams, said, .. } = store.data_mut();
        let bytes = contents.iter().filter_map(|value| match value {
            Val::U8(byte) => Some(*byte),
            _ => None,
        });
        streams.write(number, bytes, said);
    }
    Ok(Some(Val::Result(Ok(None))))
}

/// What an instance writes to its standard streams, a line at a time.
#[derive(Default)]
pub(super) struct Streams {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// What of a line is kept until its end comes: four bytes a character at the most.
const LINE_BYTES_MAX: usize = 4 * LINE_CHARACTERS_MAX;

impl Streams {
    fn write(&mut self, stream: u32, bytes: impl Iterator<Item = u8>, said: &mut Said) {
        for byte in bytes {
            let line = if stream == STDERR { &mut self.stderr } else { &mut self.stdout };
            if byte != b'\n' {
                if line.len() < LINE_BYTES_MAX {
                    line.push(byte);
                }
            } else {
                self.end_line(stream, said);
            }
        }
    }

    fn end_line(&mut self, stream: u32, said: &mut Said) {
        let line = std::mem::take(if stream == STDERR { &mut self.stderr } else { &mut self.stdout });
        // What Rust says below the message of a panic helps nobody here.
        if line.trim_ascii().is_empty() || line.starts_with(b"note: run with `RUST_BACKTRACE") {
            return;
        }
        if stream != STDERR {
            return said.log(tracing::Level::INFO, &line);
        }
        said.complain(tracing::Level::WARN, &line);
    }

    /// Ends the lines that were begun in a call.
    pub(super) fn flush(&mut self, said: &mut Said) {
        for stream in [STDOUT, STDERR] {
            self.end_line(stream, said);
        }
    }
}
