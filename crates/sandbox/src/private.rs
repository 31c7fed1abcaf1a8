//! A sandbox with a network and files of its own, seen from outside: starts its [`inside`](crate::inside), takes
//! sockets from it, has processes enter it, and takes apart what is left. What the function's variables name on this
//! machine's loopback (`http://127.0.0.1:…`: the intake, the Invoke API) is reached from inside under the same address;
//! nothing else is.
//!
//! The namespaces are made by `unshare` and entered by `nsenter`, which every Linux has: to do it here would take code
//! between fork and exec, which is unsafe.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::environment::Variables;
use crate::ids;
use crate::inside::{DONE, LISTENER, Plan, SOCKET};
use crate::leash::{Group, Leash};

/// Of the Runtime API in a private sandbox, as in Lambda.
pub(crate) const API_PORT: u16 = 9001;
/// Longest wait for the inside, which only calls the kernel.
const LIMIT: Duration = Duration::from_secs(20);

/// A private sandbox. The last handle that is dropped takes it apart.
#[derive(Clone, Debug)]
pub(crate) struct Private(Arc<Held>);

#[derive(Debug)]
struct Held {
    control: Mutex<UnixStream>,
    child: Mutex<Child>,
    group: Group,
    leash: Leash,
    plan: Plan,
    /// Carry what is reached outside.
    bridges: Mutex<JoinSet<()>>,
}

impl Private {
    /// Makes one for a function: `command` becomes its inside.
    pub(crate) fn open(
        command: &[String],
        leash: &Leash,
        task: &Path,
        opt: Option<&Path>,
        extensions: &[PathBuf],
    ) -> io::Result<Self> {
        let place = std::env::temp_dir().join(format!("sandbox-{}", ids::environment()));
        fs::create_dir(&place)?;
        let named = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, path.canonicalize()?))
        };
        let plan = Plan {
            place,
            task: task.canonicalize()?,
            opt: opt.map(Path::canonicalize).transpose()?,
            extensions: extensions.iter().map(named).collect::<io::Result<_>>()?,
        };
        let (control, theirs) = UnixStream::pair()?;
        control.set_read_timeout(Some(LIMIT))?;
        control.set_write_timeout(Some(LIMIT))?;
        let child = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "--net", "--"])
            .args(command)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|why| io::Error::other(format!("unshare: {why}")))?;
        let group = Group(child.id());
        leash.add(group);
        let held = Held {
            control: Mutex::new(control),
            child: Mutex::new(child),
            group,
            leash: leash.clone(),
            plan,
            bridges: Mutex::default(),
        };
        held.begin()?;
        Ok(Self(Arc::new(held)))
    }

    /// Listens inside.
    pub(crate) fn listen(&self, port: u16) -> io::Result<TcpListener> {
        let listener = std::net::TcpListener::from(self.0.ask(LISTENER, port)?);
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }

    /// Connects to a port inside.
    pub(crate) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let socket = std::net::TcpStream::from(self.0.ask(SOCKET, 0)?);
        socket.set_nonblocking(true)?;
        TcpSocket::from_std_stream(socket).connect((Ipv4Addr::LOCALHOST, port).into()).await
    }

    /// Makes reachable inside what these variables name on the loopback outside.
    pub(crate) fn bridge(&self, vars: &Variables) -> io::Result<()> {
        for port in ports(vars) {
            let listener = self.listen(port)?;
            self.0.bridges.lock().unwrap_or_else(PoisonError::into_inner).spawn(carry(listener, port));
        }
        Ok(())
    }

    /// A command, as one that enters the sandbox before it runs.
    pub(crate) fn enter(&self, command: &[String]) -> io::Result<Vec<String>> {
        let plan = &self.0.plan;
        let mut command = command.to_vec();
        // What is named as it is inside stays so, whether or not there is something of that name outside.
        let outside = |program: &&mut String| program.contains('/') && !program.starts_with("/opt/");
        if let Some(program) = command.first_mut().filter(outside) {
            // What is not there is told as such, not by the program that would enter.
            let file = fs::canonicalize(&*program)?;
            let named = named(Path::new(&*program)).unwrap_or_else(|| file.clone());
            let extension = plan.extensions.iter().find(|(_, extension)| *extension == file);
            let extension = extension.map(|(name, _)| Path::new("/opt/extensions").join(name));
            let seen = || [&named, &file].into_iter().find_map(|path| plan.inside(path));
            let program_inside = extension.or_else(seen).unwrap_or(named);
            *program = program_inside.to_string_lossy().into_owned();
        }
        let target = format!("--target={}", self.0.group.0);
        let enter =
            ["nsenter", &target, "--user", "--preserve-credentials", "--mount", "--net", "--wd", "--"];
        Ok(enter.into_iter().map(ToOwned::to_owned).chain(command).collect())
    }
}

impl Held {
    /// Tells the plan and waits until it is carried out.
    fn begin(&self) -> io::Result<()> {
        let mut line = serde_json::to_vec(&self.plan).map_err(io::Error::other)?;
        line.push(b'\n');
        let told = {
            let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
            control.write_all(&line).and_then(|()| receive(&control).map(drop))
        };
        told.map_err(|why| {
            self.group.signal(rustix::process::Signal::KILL);
            let mut words = String::new();
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(stderr) = child.stderr.as_mut() {
                let _ = stderr.take(1000).read_to_string(&mut words);
            }
            let words = words.lines().next().map(|line| format!(" ({line})")).unwrap_or_default();
            io::Error::other(format!("no namespaces: {why}{words}; see `dd-lambda doctor`"))
        })
    }

    fn ask(&self, what: u8, port: u16) -> io::Result<OwnedFd> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let [high, low] = port.to_be_bytes();
        control.write_all(&[what, high, low])?;
        receive(&control)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.leash.remove(self.group);
        let _ = self.child.get_mut().unwrap_or_else(PoisonError::into_inner).wait();
        // The mounts were in the namespace that is gone.
        let _ = fs::remove_dir_all(&self.plan.place);
    }
}

/// One answer, and the socket beside it.
fn receive(control: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut text = [0; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let length =
        recvmsg(control, &mut [IoSliceMut::new(&mut text)], &mut beside, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let mut sockets = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    let socket = sockets.next().and_then(|mut sockets| sockets.next());
    match text.get(..length).unwrap_or_default().split_first() {
        Some((&DONE, _)) => Ok(socket),
        Some((_, why)) => Err(io::Error::other(String::from_utf8_lossy(why).trim().to_owned())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A program under the name by which it is called: programs look at that, as the Python of a virtual environment does
/// to find its packages.
fn named(program: &Path) -> Option<PathBuf> {
    Some(fs::canonicalize(program.parent()?).ok()?.join(program.file_name()?))
}

/// Ports of this machine's loopback that are named as URLs.
fn ports(vars: &Variables) -> BTreeSet<u16> {
    let urls = ["http://127.0.0.1:", "http://localhost:"];
    let port = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    let behind = vars.iter().flat_map(|(_, value)| urls.iter().flat_map(|url| value.split(url).skip(1)));
    behind.filter_map(port).collect()
}

/// Takes connections inside and carries each to the same port outside.
async fn carry(listener: TcpListener, port: u16) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            Ok((mut inner, _)) = listener.accept() => {
                open.spawn(async move {
                    if let Ok(mut outer) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                        // Small requests must not wait for acknowledgements.
                        let _ = (inner.set_nodelay(true), outer.set_nodelay(true));
                        let _ = tokio::io::copy_bidirectional(&mut inner, &mut outer).await;
                    }
                });
            }
            Some(_) = open.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ports;

    #[test]
    fn what_is_named_outside_is_reached_inside() {
        let vars = [
            ("DD_DD_URL", "http://127.0.0.1:4000"),
            ("TWO", "x http://localhost:81/a,http://127.0.0.1:82/"),
            ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
            ("NONE", "http://127.0.0.1:/ http://example.com:83"),
        ];
        let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        assert_eq!(ports(&vars).into_iter().collect::<Vec<_>>(), [81, 82, 4000]);
    }
}
