//! The one writer of log lines, to stderr.
//!
//! A line is appended to a buffer of its thread's, under a lock that hardly anybody else takes. One
//! thread of its own writes the buffers out, twenty times a second and sooner where they grow or
//! where something is wrong; nobody else ever writes, so that a stderr that blocks stops nobody,
//! no line is torn, and the lines of a thread stay in order (lines of different threads may be out
//! of order by that twentieth of a second). All lines that wait, those that are being written
//! included, have a bound in bytes. Above it a line is dropped and counted.

use super::{AccessLog, LogConfig, LogFormat, thread_number};
use parking_lot::{Condvar, Mutex};
use std::{
    cell::Cell,
    fmt,
    io::{self, Write},
    mem, panic,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{MakeWriter, format::Writer, time::FormatTime},
    layer::SubscriberExt,
    registry::LookupSpan,
};

/// Bytes of all lines that wait. 4 MiB: about ten thousand lines, a quarter of a second at a rate
/// that two cores can serve.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// How long a line waits at most when nothing hurries it.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);
/// How long [`Sink::flush`] waits for a writer that blocks. Longer, and a stuck pipe keeps a process
/// from ending.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Shards of the buffer. A line is formatted in about 300 ns, so that even sixteen busy threads
/// hardly ever meet in one of eight.
const SHARDS: usize = 8;
/// A shard takes its share of the bound in steps of this size, so that the counter which all shards
/// have in common is touched once in some eighty lines.
const GRANT_BYTES: usize = 32 << 10;
/// A buffer larger than this is given back once it is written, so that a burst does not stay.
const KEPT_BYTES_MAX: usize = 512 << 10;

/// Starts logging: `tracing` events and access lines go to stderr, as `config` says.
///
/// There is one sink and one `tracing` subscriber in a process. A second call has no effect on
/// them; its guard's access log follows its own `config`.
///
/// `RUST_LOG` is not consulted: what is logged is said in one place, the configuration. Events of
/// other crates are written from `info` on unless the level is `trace`, since at `debug` the HTTP
/// library describes every frame.
///
/// # Errors
/// When the writing thread cannot be started.
pub fn init(config: &LogConfig) -> io::Result<LogGuard> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = STARTING.lock();
    let sink = match STDERR.get() {
        Some(sink) => Arc::clone(sink),
        None => {
            let sink = Sink::start(io::stderr(), WAITING_BYTES_MAX)?;
            flush_on_panic(&sink);
            // Fails where a program that embeds Tollgate has its own subscriber, which is its right.
            let _ = tracing::subscriber::set_global_default(subscriber(config, Arc::clone(&sink)));
            Arc::clone(STDERR.get_or_init(|| sink))
        }
    };
    Ok(LogGuard { access: config.access.then(|| AccessLog::new(Arc::clone(&sink), config.format)), sink })
}

/// The process's sink, once [`init`] has run.
static STDERR: OnceLock<Arc<Sink>> = OnceLock::new();

/// Lines of the process's sink that were dropped so far.
pub fn lines_dropped() -> u64 {
    STDERR.get().map_or(0, |sink| sink.lines_dropped())
}

/// Writes out what waits when it is dropped. `main` keeps it until the end.
pub struct LogGuard {
    sink: Arc<Sink>,
    access: Option<AccessLog>,
}

impl LogGuard {
    /// The access log, silent where the configuration turns it off.
    pub fn access(&self) -> AccessLog {
        self.access.clone().unwrap_or_else(AccessLog::silent)
    }

    /// Waits until all lines so far are written, 2 s at most; says whether they are.
    pub fn flush(&self) -> bool {
        self.sink.flush()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.sink.flush();
    }
}

/// What was logged before a panic is on stderr before the panic's own message is.
fn flush_on_panic(sink: &Arc<Sink>) {
    let (sink, before) = (Arc::clone(sink), panic::take_hook());
    panic::set_hook(Box::new(move |panic| {
        sink.flush();
        before(panic);
    }));
}

fn subscriber(config: &LogConfig, sink: Arc<Sink>) -> impl Subscriber + Send + Sync + use<> {
    let others = if config.level == Level::TRACE { Level::TRACE } else { config.level.min(Level::INFO) };
    let wanted = Targets::new().with_target("tollgate", config.level).with_default(others);
    tracing_subscriber::registry().with(layer(config.format, sink).with_filter(wanted))
}

fn layer<S>(format: LogFormat, sink: Arc<Sink>) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_timer(Clock).with_ansi(false).with_writer(Events(sink));
    match format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Text => layer.boxed(),
    }
}

/// Takes lines from every thread and has them written by its own.
pub struct Sink {
    shards: [Shard; SHARDS],
    /// Bytes granted to shards and not yet written.
    granted: AtomicUsize,
    waiting_bytes_max: usize,
    lines_dropped: AtomicU64,
    flushes_wanted: AtomicU64,
    flushes_done: Mutex<u64>,
    flush_done: Condvar,
    flusher: OnceLock<Thread>,
}

/// The buffer of some threads, on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    granted: usize,
}

impl Sink {
    /// A sink that writes to `out` from a thread of its own, which ends with the last handle. At
    /// most `waiting_bytes_max` bytes wait.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(out: impl Write + Send + 'static, waiting_bytes_max: usize) -> io::Result<Arc<Self>> {
        let sink = Arc::new(Self {
            shards: Default::default(),
            granted: AtomicUsize::new(0),
            waiting_bytes_max,
            lines_dropped: AtomicU64::new(0),
            flushes_wanted: AtomicU64::new(0),
            flushes_done: Mutex::new(0),
            flush_done: Condvar::new(),
            flusher: OnceLock::new(),
        });
        let weak = Arc::downgrade(&sink);
        let thread = thread::Builder::new().name("log".into()).spawn(move || write_out(&weak, out))?;
        sink.flusher.get_or_init(|| thread.thread().clone());
        Ok(sink)
    }

    /// Appends what `write` writes, which must be whole lines, or drops it where too much waits.
    /// Never blocks on the writer. `write` must not log.
    pub fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut lines = self.shards[thread_number() % SHARDS].0.lock();
        let start = lines.bytes.len();
        write(&mut lines.bytes);
        if lines.bytes.len() > lines.granted && !self.grant(&mut lines) {
            lines.bytes.truncate(start);
            self.lines_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Room for what `lines` holds, out of what all shards have together. Hurries the writing once a
    /// sixteenth of that is taken: early enough that a buffer stays in a core's cache, and seldom
    /// enough that hundreds of lines share the cost of waking the writer.
    fn grant(&self, lines: &mut Lines) -> bool {
        let more = (lines.bytes.len() - lines.granted).next_multiple_of(GRANT_BYTES);
        let granted = self.granted.fetch_add(more, Ordering::Relaxed) + more;
        if granted > self.waiting_bytes_max {
            self.granted.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        lines.granted += more;
        if granted > self.waiting_bytes_max / 16 {
            self.hurry();
        }
        true
    }

    /// Has what waits written now. Returns at once.
    fn hurry(&self) {
        if let Some(flusher) = self.flusher.get() {
            flusher.unpark();
        }
    }

    /// Waits until all lines so far are written, 2 s at most; says whether they are.
    pub fn flush(&self) -> bool {
        if self.flusher.get().is_some_and(|flusher| flusher.id() == thread::current().id()) {
            return false; // it panicked, and nobody is left to write
        }
        let wanted = self.flushes_wanted.fetch_add(1, Ordering::SeqCst) + 1;
        self.hurry();
        let mut done = self.flushes_done.lock();
        !self.flush_done.wait_while_for(&mut done, |done| *done < wanted, FLUSH_TIMEOUT).timed_out()
    }

    /// Lines that were dropped so far: too much waited, or writing failed.
    pub fn lines_dropped(&self) -> u64 {
        self.lines_dropped.load(Ordering::Relaxed)
    }

    /// Writes out what waits. `spare` is the buffer that the next shard goes on with.
    fn drain(&self, out: &mut impl Write, spare: &mut Vec<u8>) {
        let wanted = self.flushes_wanted.load(Ordering::SeqCst);
        for shard in &self.shards {
            let mut lines = shard.0.lock();
            if lines.bytes.is_empty() {
                continue;
            }
            let mut bytes = mem::replace(&mut lines.bytes, mem::take(spare));
            let granted = mem::take(&mut lines.granted);
            drop(lines);
            let lost = write_all(out, &bytes);
            self.lines_dropped.fetch_add(lost, Ordering::Relaxed);
            self.granted.fetch_sub(granted, Ordering::Relaxed);
            bytes.clear();
            bytes.shrink_to(KEPT_BYTES_MAX);
            *spare = bytes;
        }
        let mut done = self.flushes_done.lock();
        if *done < wanted {
            *done = wanted;
            self.flush_done.notify_all();
        }
    }
}

/// The life of the writing thread.
fn write_out(sink: &Weak<Sink>, mut out: impl Write) {
    let mut spare = Vec::new();
    loop {
        thread::park_timeout(FLUSH_INTERVAL);
        let Some(sink) = sink.upgrade() else { return };
        sink.drain(&mut out, &mut spare);
    }
}

/// Writes everything, however often the writer needs to be asked; says how many lines were lost.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> u64 {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(written) if written > 0 => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Somebody who shares stderr made it non-blocking. This thread has the time to wait.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(5));
            }
            Ok(_) | Err(_) => return bytes.iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
    let _ = out.flush();
    0
}

/// Where `tracing` writes its lines.
struct Events(Arc<Sink>);

impl<'a> MakeWriter<'a> for Events {
    type Writer = EventWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        EventWriter { sink: &self.0, urgent: false }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        EventWriter { sink: &self.0, urgent: *event.level() <= Level::WARN }
    }
}

/// Takes one event's line, which `tracing_subscriber` writes in one piece.
struct EventWriter<'a> {
    sink: &'a Sink,
    urgent: bool,
}

impl Write for EventWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.sink.line(|out| out.extend_from_slice(line));
        if self.urgent {
            self.sink.hurry();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The time of `tracing`'s lines, in the same form as that of access lines.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        let text = timestamp(SystemTime::now());
        out.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// RFC 3339 in UTC with milliseconds, `2026-01-31T23:59:59.999Z`. A time that does not fit (before
/// 1970, after 9999) becomes the nearest that does.
pub(super) fn timestamp(at: SystemTime) -> [u8; 24] {
    /// `9999-12-31T23:59:59`
    const SECOND_MAX: u64 = 253_402_300_799;
    // All but the last digits is the same for a second's worth of lines.
    thread_local! {
        static SECOND: Cell<(u64, [u8; 24])> = const { Cell::new((0, *b"1970-01-01T00:00:00.000Z")) };
    }
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = since.as_secs().min(SECOND_MAX);
    let (known, mut text) = SECOND.get();
    if known != second {
        text = format_second(second);
        SECOND.set((second, text));
    }
    digits(&mut text[20..23], u64::from(since.subsec_millis()));
    text
}

/// The date and time of a second since 1970; the milliseconds are 0. Days become a date as in
/// "chrono-Compatible Low-Level Date Algorithms" (Howard Hinnant), whose year begins in March so
/// that the leap day is its last.
fn format_second(second: u64) -> [u8; 24] {
    let (days, second_of_day) = (second / 86_400 + 719_468, second % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);

    let mut text = *b"0000-00-00T00:00:00.000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], second_of_day / 3_600);
    digits(&mut text[14..16], second_of_day / 60 % 60);
    digits(&mut text[17..19], second_of_day % 60);
    text
}

/// Fills `out` with the last digits of `number`.
fn digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A writer that can be read, and held up.
    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Page {
        written: Arc<Mutex<Vec<u8>>>,
        gate: Arc<Mutex<()>>,
        entered: Arc<OnceLock<mpsc::SyncSender<()>>>,
    }

    impl Page {
        pub(in crate::telemetry) fn text(&self) -> String {
            String::from_utf8(self.written.lock().clone()).expect("UTF-8")
        }
    }

    impl Write for Page {
        /// Takes at most 1000 bytes, as a pipe may, and waits while the gate is shut.
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(entered) = self.entered.get() {
                let _ = entered.try_send(());
            }
            let _open = self.gate.lock();
            let bytes = &bytes[..bytes.len().min(1000)];
            self.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// `lines` lines of each of `threads` threads, each with its thread, number and a checkable tail.
    fn write_from_threads(sink: &Arc<Sink>, threads: usize, lines: usize) {
        thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || {
                    for line in 0..lines {
                        let tail = "x".repeat((thread * 31 + line * 7) % 200);
                        sink.line(|out| writeln!(out, "{thread} {line} {} {tail}", tail.len()).unwrap());
                    }
                });
            }
        });
    }

    /// Every line is whole and those of a thread are in order; how many there are.
    fn check_lines(text: &str, threads: usize) -> usize {
        assert!(text.is_empty() || text.ends_with('\n'));
        let mut last = vec![None; threads];
        for line in text.lines() {
            let mut parts = line.split(' ');
            let mut number = || parts.next().unwrap().parse::<usize>().unwrap();
            let (thread, line, length) = (number(), number(), number());
            let tail = parts.next().unwrap();
            assert!(tail.len() == length && tail.bytes().all(|byte| byte == b'x'), "torn: {line}");
            assert!(last[thread] < Some(line), "thread {thread}: {line} after {:?}", last[thread]);
            last[thread] = Some(line);
        }
        text.lines().count()
    }

    #[test]
    fn no_line_is_torn_or_lost_below_the_bound() {
        let page = Page::default();
        let sink = Sink::start(page.clone(), 64 << 20).unwrap();
        write_from_threads(&sink, 12, 2_000);
        assert!(sink.flush());
        assert_eq!(check_lines(&page.text(), 12), 12 * 2_000);
        assert_eq!(sink.lines_dropped(), 0);
        assert_eq!(sink.granted.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_writer_that_blocks_costs_lines_above_the_bound_and_stops_nobody() {
        let page = Page::default();
        let (entered, blocked) = mpsc::sync_channel(1);
        page.entered.set(entered).unwrap();
        let sink = Sink::start(page.clone(), 512 << 10).unwrap();
        let shut = page.gate.lock();
        sink.line(|out| out.extend_from_slice(b"0 0 0 \n"));
        sink.hurry();
        blocked.recv().unwrap();

        write_from_threads(&sink, 4, 10_000);
        let dropped = sink.lines_dropped();
        assert!(dropped > 0, "4 MB fit into 512 KiB");
        let waiting: usize = sink.shards.iter().map(|shard| shard.0.lock().bytes.len()).sum();
        assert!(waiting <= 512 << 10, "{waiting} bytes wait");

        drop(shut);
        assert!(sink.flush());
        let text = page.text();
        let text = text.strip_prefix("0 0 0 \n").unwrap();
        assert_eq!(check_lines(text, 4) as u64 + dropped, 40_000);
        assert_eq!(sink.lines_dropped(), dropped);

        sink.line(|out| out.extend_from_slice(b"again\n"));
        assert!(sink.flush());
        assert!(page.text().ends_with("again\n"));
    }

    #[test]
    fn a_writer_that_fails_costs_its_lines_only() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::start(Closed, 1 << 20).unwrap();
        sink.line(|out| out.extend_from_slice(b"one\n"));
        sink.line(|out| out.extend_from_slice(b"two\n"));
        assert!(sink.flush());
        assert_eq!(sink.lines_dropped(), 2);
        assert_eq!(sink.granted.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn events_are_lines_in_both_formats() {
        for format in [LogFormat::Json, LogFormat::Text] {
            let page = Page::default();
            let sink = Sink::start(page.clone(), 1 << 20).unwrap();
            let config = LogConfig { format, ..LogConfig::default() };
            tracing::subscriber::with_default(subscriber(&config, Arc::clone(&sink)), || {
                tracing::info!(listener = "public", "line one\nline two");
                tracing::debug!("not wanted");
                tracing::debug!(target: "h2::frame", "not wanted either");
            });
            assert!(sink.flush());
            let text = page.text();
            if format == LogFormat::Json {
                let event: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(event["message"], "line one\nline two");
                assert_eq!(event["listener"], "public");
                assert_eq!(event["level"], "INFO");
                assert_eq!(event["timestamp"].as_str().unwrap().len(), 24);
            } else {
                assert!(text.contains(" INFO tollgate::"), "{text}");
                assert!(text.contains("listener=\"public\""), "{text}");
            }
        }
    }

    #[test]
    fn starting_twice_is_harmless() {
        // The other tests of this process log too, and nobody wants to read it.
        let config = LogConfig { level: Level::ERROR, ..LogConfig::default() };
        let first = init(&config).unwrap();
        let second = init(&LogConfig { access: false, ..config }).unwrap();
        assert!(Arc::ptr_eq(&first.sink, &second.sink));
        assert!(first.flush() && second.flush());
    }

    #[test]
    fn times_are_rfc_3339() {
        let text = |millis| {
            String::from_utf8(timestamp(UNIX_EPOCH + Duration::from_millis(millis)).to_vec()).unwrap()
        };
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(text(951_827_696_001), "2000-02-29T12:34:56.001Z");
        assert_eq!(text(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(text(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(text(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
        assert_eq!(text(353_402_300_799_000), "9999-12-31T23:59:59.000Z");
        let before = timestamp(UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(&before, b"1970-01-01T00:00:00.000Z");
    }
}
