//! What the kernel tells of the sandbox: network, processors, open files, threads, `/tmp`. Not a monitor: it is read
//! when an invocation begins and when it is over, since between the two there may be nothing for this process to do,
//! and all processes are looked at every 100 ms at most. Called by the driver, which sees all facts pass.
//!
//! Figures are of the whole sandbox, this process included, from INVOKE until Lambda told that the runtime is done:
//! that is up to 25 ms after it was. Where several invocations run at once they belong to none: there they are of the
//! sandbox's life, told once, at its end.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::Input;
use model::keys::metrics;
use model::{Record, RequestId, UnixNanos};

/// Between two looks at all processes, at least.
const PAUSE: Duration = Duration::from_millis(100);
/// And at least so many times what the last one took, where there are many of them.
const SHARE: u32 = 100;
/// The kernel counts processor time in steps of this.
const TICK: Duration = Duration::from_millis(10);
/// The most that is read of a file of `/proc`.
const FILE_BYTES: usize = 16 << 10;
/// Invocations whose begin is remembered: the end of one may be told after the next has begun.
const MAX_BEGUN: usize = 4;
/// Processes that are looked at.
const MAX_PROCESSES: usize = 256;
/// Milliseconds of a tick of `/proc/stat`: `USER_HZ` is 100 wherever Lambda runs.
const TICK_MS: f64 = 10.0;
/// Names of the interfaces by which a function reaches the network.
const INTERFACES: [&str; 3] = ["vinternal_1", "vint_runtime", "Ceth1"];
/// What holds for open files and threads where no process has a lower limit.
const USUAL_LIMIT: f64 = 1024.0;

type Figures = Vec<(&'static str, f64)>;

#[derive(Debug)]
pub(crate) struct Probe {
    proc: PathBuf,
    tmp: PathBuf,
    enabled: bool,
    begun: VecDeque<(RequestId, Begun)>,
    /// Many invocations run at once: what is told is of the sandbox.
    is_shared: bool,
    /// Since its first invocation, with the most that was seen.
    life: Option<Begun>,
    files: Files,
    /// What was read last, and when.
    last: Option<(UnixNanos, Counters)>,
    looked: Option<(UnixNanos, Look)>,
    /// Until the next look at all processes.
    pause: Duration,
    /// The least that any process may have of files and of threads: looked up once.
    limits: Option<(f64, f64)>,
}

#[derive(Clone, Debug)]
struct Begun {
    counters: Counters,
    look: Look,
}

/// What only grows.
#[derive(Clone, Debug, Default)]
struct Counters {
    /// Bytes received and sent.
    network: Option<(u64, u64)>,
    /// Ticks of all processors.
    user: u64,
    system: u64,
    /// Ticks in which each had nothing to do.
    idle: Vec<u64>,
    uptime_ms: f64,
}

/// What goes up and down.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    files: f64,
    threads: f64,
    /// Bytes of `/tmp` that are used, and that there are.
    tmp: Option<(f64, f64)>,
}

impl Probe {
    /// `is_shared`: many invocations run at once.
    pub(crate) fn new(enabled: bool, is_shared: bool) -> Self {
        Self { is_shared, ..Self::of("/proc".into(), "/tmp".into(), enabled) }
    }

    fn of(proc: PathBuf, tmp: PathBuf, enabled: bool) -> Self {
        Self {
            files: Files::new(&proc),
            proc,
            tmp,
            enabled,
            begun: VecDeque::new(),
            is_shared: false,
            life: None,
            last: None,
            looked: None,
            pause: PAUSE,
            limits: None,
        }
    }

    /// Sees a fact on its way to the engine; gives what has to be told before it.
    pub(crate) fn see(&mut self, now: UnixNanos, fact: &Input) -> Vec<Input> {
        match fact {
            _ if !self.enabled => Vec::new(),
            _ if self.is_shared => self.see_of_sandbox(now, fact).into_iter().collect(),
            Input::Invoke { request_id, .. } => {
                self.begin(now, request_id.clone());
                Vec::new()
            }
            Input::Telemetry(records) => {
                let done = records.iter().filter_map(|record| match &record.record {
                    Record::RuntimeDone(done) => Some(&done.request_id),
                    _ => None,
                });
                done.filter_map(|id| self.end(now, id)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Looks when an invocation begins or has ended; what it saw in all it tells at the end.
    fn see_of_sandbox(&mut self, now: UnixNanos, fact: &Input) -> Option<Input> {
        match fact {
            Input::Telemetry(records) => {
                let is_of_one = |record: &Record| matches!(record, Record::Start(_) | Record::Report(_));
                if records.iter().any(|record| is_of_one(&record.record)) {
                    let look = self.look(now);
                    let begun = self.life.take();
                    let begun = begun.unwrap_or_else(|| Begun { counters: self.read(now), look });
                    self.life = Some(Begun { look: look.or_more(begun.look), ..begun });
                }
                None
            }
            Input::Shutdown { .. } => {
                let life = self.life.take()?;
                let mut figures = self.read(now).since(&life.counters);
                figures.extend(self.look(now).or_more(life.look).figures(self.limits()));
                Some(Input::Usage { request_id: None, figures })
            }
            _ => None,
        }
    }

    fn begin(&mut self, now: UnixNanos, request_id: RequestId) {
        // Where invocations follow each other, one begins as the one before it ended.
        let last = self.last.as_ref().filter(|(at, _)| now.since(*at) < TICK).map(|(_, last)| last.clone());
        let (counters, look) = (last.unwrap_or_else(|| self.read(now)), self.look(now));
        if self.begun.len() == MAX_BEGUN {
            self.begun.pop_front();
        }
        self.begun.push_back((request_id, Begun { counters, look }));
    }

    fn end(&mut self, now: UnixNanos, request_id: &RequestId) -> Option<Input> {
        let at = self.begun.iter().position(|(id, _)| id == request_id)?;
        let (request_id, begun) = self.begun.remove(at)?;
        let mut figures = self.read(now).since(&begun.counters);
        figures.extend(self.look(now).or_more(begun.look).figures(self.limits()));
        Some(Input::Usage { request_id: Some(request_id), figures })
    }

    /// What only grows, now. Of processor time there is nothing new before the next tick.
    fn read(&mut self, now: UnixNanos) -> Counters {
        let network = self.files.network();
        let known = self.last.take().filter(|(at, _)| now.since(*at) < TICK);
        let (at, mut counters) = known.unwrap_or_else(|| (now, self.files.processors()));
        counters.network = network;
        self.last = Some((at, counters.clone()));
        counters
    }

    fn look(&mut self, now: UnixNanos) -> Look {
        if let Some((at, look)) = self.looked
            && now.since(at) < self.pause
        {
            return look;
        }
        let begun = Instant::now();
        let look = Look::take(&self.proc, &self.tmp);
        self.pause = PAUSE.max(begun.elapsed() * SHARE);
        self.looked = Some((now, look));
        look
    }

    fn limits(&mut self) -> (f64, f64) {
        let proc = &self.proc;
        *self.limits.get_or_insert_with(|| limits(proc))
    }
}

/// Files that are read again and again: kept open, each read is one call.
#[derive(Debug)]
struct Files {
    network: Kept,
    stat: Kept,
    uptime: Kept,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    file: Option<File>,
}

impl Kept {
    fn read<'a>(&mut self, buffer: &'a mut Vec<u8>) -> &'a str {
        buffer.resize(FILE_BYTES, 0);
        let file = self.file.take().or_else(|| File::open(&self.path).ok());
        let read = file.as_ref().map_or(0, |file| file.read_at(buffer, 0).unwrap_or(0));
        // One that cannot be read is opened again the next time.
        self.file = file.filter(|_| read > 0);
        str::from_utf8(buffer.get(..read).unwrap_or_default()).unwrap_or_default()
    }
}

impl Files {
    fn new(proc: &Path) -> Self {
        let kept = |name: &str| Kept { path: proc.join(name), file: None };
        Self { network: kept("net/dev"), stat: kept("stat"), uptime: kept("uptime"), buffer: Vec::new() }
    }

    fn network(&mut self) -> Option<(u64, u64)> {
        network(self.network.read(&mut self.buffer))
    }

    fn processors(&mut self) -> Counters {
        let mut counters = Counters::default();
        for line in self.stat.read(&mut self.buffer).lines() {
            let mut words = line.split_ascii_whitespace();
            let Some(rest) = words.next().and_then(|name| name.strip_prefix("cpu")) else { break };
            let ticks: Vec<u64> = words.map(|word| word.parse().unwrap_or(0)).collect();
            let nth = |n: usize| ticks.get(n).copied().unwrap_or(0);
            if rest.is_empty() {
                (counters.user, counters.system) = (nth(0), nth(2));
            } else {
                counters.idle.push(nth(3));
            }
        }
        let uptime = self.uptime.read(&mut self.buffer);
        let seconds = uptime.split_ascii_whitespace().next().and_then(|word| word.parse::<f64>().ok());
        counters.uptime_ms = seconds.unwrap_or(0.0) * 1000.0;
        counters
    }
}

impl Counters {
    fn since(&self, before: &Self) -> Figures {
        let mut figures = Vec::new();
        if let (Some((rx, tx)), Some((rx_before, tx_before))) = (self.network, before.network) {
            let (rx, tx) = (rx.saturating_sub(rx_before) as f64, tx.saturating_sub(tx_before) as f64);
            figures.extend([
                (metrics::RX_BYTES, rx),
                (metrics::TX_BYTES, tx),
                (metrics::TOTAL_NETWORK, rx + tx),
            ]);
        }
        if self.idle.is_empty() {
            return figures;
        }
        let ms = |now: u64, before: u64| now.saturating_sub(before) as f64 * TICK_MS;
        let (user, system) = (ms(self.user, before.user), ms(self.system, before.system));
        let cores = self.idle.len() as f64;
        figures.extend([
            (metrics::CPU_USER_TIME, user),
            (metrics::CPU_SYSTEM_TIME, system),
            (metrics::CPU_TOTAL_TIME, user + system),
            (metrics::NUM_CORES, cores),
        ]);
        let took = self.uptime_ms - before.uptime_ms;
        let idle: Vec<f64> =
            self.idle.iter().zip(&before.idle).map(|(now, before)| ms(*now, *before)).collect();
        // Below its resolution of 10 ms the uptime says nothing.
        if took > 0.0 && idle.len() == self.idle.len() {
            let busy = |idle: f64, of: f64| ((of - idle) / of).clamp(0.0, 1.0);
            let total = busy(idle.iter().sum(), took * cores);
            let (least, most) = idle.iter().fold((f64::MAX, 0.0_f64), |(a, b), x| (a.min(*x), b.max(*x)));
            figures.extend([
                (metrics::CPU_TOTAL_UTILIZATION_PCT, total * 100.0),
                (metrics::CPU_TOTAL_UTILIZATION, total * cores),
                (metrics::CPU_MAX_UTILIZATION, busy(least, took) * 100.0),
                (metrics::CPU_MIN_UTILIZATION, busy(most, took) * 100.0),
            ]);
        }
        figures
    }
}

/// Bytes that a function's interfaces have received and sent. `None`: it has none of them.
fn network(text: &str) -> Option<(u64, u64)> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut own =
        lines.filter(|(name, _)| INTERFACES.iter().any(|own| name.trim().starts_with(own))).peekable();
    own.peek()?;
    Some(own.fold((0, 0), |(rx, tx), (_, counts)| {
        let nth =
            |n| counts.split_ascii_whitespace().nth(n).and_then(|word| word.parse().ok()).unwrap_or(0u64);
        (rx + nth(0), tx + nth(8))
    }))
}

impl Look {
    fn take(proc: &Path, tmp: &Path) -> Self {
        let count = |path: PathBuf| fs::read_dir(path).map_or(0, Iterator::count) as f64;
        let mut look = Self::default();
        // One that has ended meanwhile has nothing.
        for process in processes(proc) {
            look.files += count(process.join("fd"));
            look.threads += count(process.join("task"));
        }
        look.tmp = rustix::fs::statvfs(tmp).ok().map(|stat| {
            let (size, free) = (stat.f_blocks as f64, stat.f_bavail as f64);
            let block = stat.f_frsize as f64;
            (block * (size - free).max(0.0), block * size)
        });
        look
    }

    /// The higher of two looks: there is no third between them.
    fn or_more(self, other: Self) -> Self {
        let tmp = match (self.tmp, other.tmp) {
            (Some((a, size)), Some((b, _))) => Some((a.max(b), size)),
            (a, b) => a.or(b),
        };
        Self { files: self.files.max(other.files), threads: self.threads.max(other.threads), tmp }
    }

    fn figures(self, (max_files, max_threads): (f64, f64)) -> Figures {
        let mut figures = vec![(metrics::FD_MAX, max_files), (metrics::THREADS_MAX, max_threads)];
        if self.files > 0.0 {
            figures.push((metrics::FD_USE, self.files));
        }
        if self.threads > 0.0 {
            figures.push((metrics::THREADS_USE, self.threads));
        }
        if let Some((used, size)) = self.tmp.filter(|(used, _)| *used > 0.0) {
            figures.extend([
                (metrics::TMP_USED, used),
                (metrics::TMP_MAX, size),
                (metrics::TMP_FREE, (size - used).max(0.0)),
            ]);
        }
        figures
    }
}

/// The folders of all processes.
fn processes(proc: &Path) -> impl Iterator<Item = PathBuf> {
    let all = fs::read_dir(proc).into_iter().flatten().filter_map(Result::ok);
    let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let all = all.filter(move |entry| entry.file_name().to_str().is_some_and(is_process));
    all.map(|entry| entry.path()).take(MAX_PROCESSES)
}

/// The lowest limits of any process of open files and of threads.
fn limits(proc: &Path) -> (f64, f64) {
    let (mut files, mut threads) = (USUAL_LIMIT, USUAL_LIMIT);
    for process in processes(proc) {
        let text = fs::read_to_string(process.join("limits")).unwrap_or_default();
        let soft = |name: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_ascii_whitespace().next()?.parse::<f64>().ok()
        };
        files = soft("Max open files").map_or(files, |limit| files.min(limit));
        threads = soft("Max processes").map_or(threads, |limit| threads.min(limit));
    }
    (files, threads)
}

#[cfg(test)]
mod tests {
    use model::{RuntimeDone, Status, TelemetryRecord};

    use super::*;

    /// A `/proc` of our own.
    struct Proc(PathBuf);

    impl Proc {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("proc-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            let proc = Self(path);
            proc.write(
                "1/limits",
                "Max open files            900     1000    files\nMax processes    unlimited  5  x\n",
            );
            proc.write(
                "7/limits",
                "Max open files            2000    4000    files\nMax processes    300  400  x\n",
            );
            for file in
                ["1/fd/0", "1/fd/1", "7/fd/0", "1/task/1/comm", "7/task/7/comm", "7/task/8/comm", "self/fd/0"]
            {
                proc.write(file, "");
            }
            proc
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn counters(&self, rx: u64, (user, idle): (u64, [u64; 2]), uptime: &str) {
            let lines =
                format!("  lo: 9 9 0 0 0 0 0 0 9 9\n vinternal_1: {rx} 1 0 0 0 0 0 0 {} 1 0\n", rx * 2);
            self.write("net/dev", &format!("Inter-|\n face |bytes\n{lines}"));
            let [one, other] = idle;
            let stat = format!("cpu  {user} 5 20 99 0 0\ncpu0 1 1 1 {one} 0\ncpu1 1 1 1 {other} 0\nintr 5\n");
            self.write("stat", &stat);
            self.write("uptime", &format!("{uptime} 1.0\n"));
        }
    }

    impl Drop for Proc {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn id(text: &str) -> RequestId {
        RequestId::new(text).unwrap()
    }

    fn invoke(text: &str) -> Input {
        Input::Invoke { request_id: id(text), arn: None, deadline: UnixNanos::from_secs(9) }
    }

    fn done(text: &str) -> Input {
        let done = RuntimeDone {
            request_id: id(text),
            status: Status::Success,
            error_type: None,
            duration: None,
            produced_bytes: None,
            spans: Vec::new(),
            trace_header: None,
            tenant_id: None,
        };
        Input::Telemetry(vec![TelemetryRecord {
            time: UnixNanos::from_secs(1),
            record: Record::RuntimeDone(done),
        }])
    }

    fn figures(told: &[Input]) -> String {
        let [Input::Usage { figures, .. }] = told else { return format!("{told:?}") };
        let short = |(name, value): &(&'static str, f64)| {
            let rounded = (value * 1000.0).round() / 1000.0;
            format!("{}={rounded}", name.strip_prefix("aws.lambda.enhanced.").unwrap())
        };
        figures.iter().filter(|(name, _)| !name.contains(".tmp_")).map(short).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_an_invocation_used() {
        let proc = Proc::new("used");
        proc.counters(1000, (100, [50, 60]), "100.00");
        let mut probe = Probe::of(proc.0.clone(), std::env::temp_dir(), true);
        let now = UnixNanos::from_secs;
        assert_eq!(probe.see(now(1), &invoke("r1")), []);
        proc.counters(1500, (103, [50, 68]), "100.10");
        let told = probe.see(now(2), &done("r1"));
        assert_eq!(
            figures(&told),
            "rx_bytes=500 tx_bytes=1000 total_network=1500 cpu_user_time=30 cpu_system_time=0 cpu_total_time=30 \
             num_cores=2 cpu_total_utilization_pct=60 cpu_total_utilization=1.2 \
             cpu_max_utilization=100 cpu_min_utilization=20 fd_max=900 threads_max=300 fd_use=3 \
             threads_use=3"
        );
        assert_eq!(probe.see(now(2), &done("r1")), [], "told twice");
    }

    /// The end of one may be told when the next has begun, and what nobody told of is forgotten.
    #[test]
    fn each_invocation_has_its_own_begin() {
        let proc = Proc::new("own");
        proc.counters(0, (0, [0, 0]), "1.00");
        let mut probe = Probe::of(proc.0.clone(), std::env::temp_dir(), true);
        let now = UnixNanos::from_secs;
        probe.see(now(1), &invoke("r1"));
        proc.counters(100, (0, [0, 0]), "1.00");
        probe.see(now(2), &invoke("r2"));
        assert!(figures(&probe.see(now(2), &done("r1"))).starts_with("rx_bytes=100 "));
        assert!(figures(&probe.see(now(2), &done("r2"))).starts_with("rx_bytes=0 "));
        for n in 0..100 {
            probe.see(now(3), &invoke(&format!("r{n}")));
        }
        assert_eq!(probe.begun.len(), MAX_BEGUN);
    }

    #[test]
    fn a_kernel_that_tells_nothing_and_a_switch() {
        let nothing = std::env::temp_dir().join("no-such-proc");
        let mut probe = Probe::of(nothing.clone(), nothing, true);
        let now = UnixNanos::from_secs(1);
        probe.see(now, &invoke("r1"));
        assert_eq!(figures(&probe.see(now, &done("r1"))), "fd_max=1024 threads_max=1024");
        let mut off = Probe::of("/proc".into(), "/tmp".into(), false);
        off.see(now, &invoke("r1"));
        assert_eq!(off.see(now, &done("r1")), []);
    }

    /// Between the list of processes and the look at one it may end.
    #[test]
    fn a_process_that_ends_meanwhile_costs_itself() {
        let proc = Proc::new("ended");
        proc.write("8/status", "nothing of it can be read any more");
        proc.write("9", "");
        let mut probe = Probe::of(proc.0.clone(), std::env::temp_dir(), true);
        let now = UnixNanos::from_secs(1);
        probe.see(now, &invoke("r1"));
        let told = figures(&probe.see(now, &done("r1")));
        assert!(told.contains("fd_use=3 threads_use=3"), "{told}");
    }

    /// Processes are many and invocations may be quick: one look serves all within its time.
    #[test]
    fn processes_are_looked_at_seldom() {
        let proc = Proc::new("seldom");
        let mut probe = Probe::of(proc.0.clone(), std::env::temp_dir(), true);
        let begin = UnixNanos::from_secs(1);
        probe.see(begin, &invoke("r1"));
        proc.write("7/fd/1", "");
        let told = figures(&probe.see(begin + Duration::from_millis(99), &done("r1")));
        assert!(told.contains("fd_use=3 "), "{told}");
        let later = begin + Duration::from_secs(60);
        probe.see(later, &invoke("r2"));
        let told = figures(&probe.see(later, &done("r2")));
        assert!(told.contains("fd_use=4 "), "{told}");
    }
}
