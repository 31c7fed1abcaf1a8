//! The inside of a private sandbox: a small process that is the first in namespaces of its own. It brings the
//! loopback up, puts `/opt`, `/var/task`, `/tmp` and `/etc/hosts` in their places, and then makes sockets for
//! [`crate::private`], which uses them from outside: a socket belongs to the network in which it was made, whoever
//! holds it. Ends when its maker does. Nothing of the function runs in it.

use std::fs;
use std::io::{self, IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, sendmsg, sendto, socket, socket_with,
};
use serde::{Deserialize, Serialize};

/// Names of the sandbox for its own processes.
const HOSTS: &str = "127.0.0.1 localhost sandbox.localdomain sandbox\n::1 localhost\n";

/// What goes where: told as one line of JSON on standard input, which is a socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// A folder for us alone, empty.
    pub(crate) place: PathBuf,
    /// `/var/task`.
    pub(crate) task: PathBuf,
    /// `/opt`.
    pub(crate) opt: Option<PathBuf>,
    /// Besides: `/opt/extensions/…` by name.
    pub(crate) extensions: Vec<(String, PathBuf)>,
}

impl Plan {
    /// Where a path of this machine is seen inside, if in a folder of the function.
    pub(crate) fn inside(&self, path: &Path) -> Option<PathBuf> {
        let folders = [(Some(&self.task), "/var/task"), (self.opt.as_ref(), "/opt")];
        folders
            .into_iter()
            .find_map(|(outside, inside)| Some(Path::new(inside).join(path.strip_prefix(outside?).ok()?)))
    }
}

/// What is asked for afterwards, as three bytes: the letter, and a port.
pub(crate) const LISTENER: u8 = b'L';
pub(crate) const SOCKET: u8 = b'S';
/// What is answered, as one byte, with the socket beside it; a line of text follows a failure.
pub(crate) const DONE: u8 = b'+';
pub(crate) const FAILED: u8 = b'-';

/// Runs what [`FunctionConfig::private`](crate::FunctionConfig::private) names. To be called by a program that is
/// started for this alone, as `dd-lambda inside` is.
pub fn inside() -> ExitCode {
    match io::stdin().as_fd().try_clone_to_owned().and_then(|fd| serve(UnixStream::from(fd))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(mut control: UnixStream) -> io::Result<()> {
    let plan = read_plan(&mut control)?;
    answer(&control, prepare(&plan).map(|()| None))?;
    let mut asked = [0; 3];
    while control.read_exact(&mut asked).is_ok() {
        let [what, high, low] = asked;
        let made = match what {
            LISTENER => {
                TcpListener::bind((Ipv4Addr::LOCALHOST, u16::from_be_bytes([high, low]))).map(OwnedFd::from)
            }
            _ => socket(AddressFamily::INET, SocketType::STREAM, None).map_err(io::Error::from),
        };
        answer(&control, made.map(Some))?;
    }
    Ok(())
}

fn read_plan(control: &mut UnixStream) -> io::Result<Plan> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    loop {
        control.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return serde_json::from_slice(&line).map_err(io::Error::other);
        }
        line.extend_from_slice(&byte);
    }
}

fn answer(control: &UnixStream, made: io::Result<Option<OwnedFd>>) -> io::Result<()> {
    let text = match &made {
        Ok(_) => vec![DONE],
        Err(why) => format!("{}{why}\n", char::from(FAILED)).into_bytes(),
    };
    let sockets: Vec<_> = made.iter().flatten().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() {
        beside.push(SendAncillaryMessage::ScmRights(&sockets));
    }
    sendmsg(control, &[IoSlice::new(&text)], &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn prepare(plan: &Plan) -> io::Result<()> {
    let said = |what: &'static str| move |why: io::Error| io::Error::other(format!("{what}: {why}"));
    loopback_up().map_err(said("the loopback"))?;
    opt(plan).map_err(said("/opt"))?;
    var(plan).map_err(said("/var/task"))?;
    let hosts = plan.place.join("hosts");
    fs::write(&hosts, HOSTS)?;
    if Path::new("/etc/hosts").exists() {
        mount_bind(&hosts, "/etc/hosts").map_err(io::Error::from).map_err(said("/etc/hosts"))?;
    }
    std::env::set_current_dir("/var/task").map_err(said("/var/task"))?;
    // Last: all that was named above may lie there.
    let tmp = plan.place.join("tmp");
    fs::create_dir(&tmp)?;
    mount_bind(&tmp, "/tmp").map_err(io::Error::from).map_err(said("/tmp"))
}

/// The first interface of a network, which begins down: `RTM_NEWLINK` with `IFF_UP`.
/// <https://man7.org/linux/man-pages/man7/rtnetlink.7.html>
fn loopback_up() -> io::Result<()> {
    // The protocol by default is the one for routes and links.
    let line = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let mut message = Vec::with_capacity(32);
    message.extend_from_slice(&32_u32.to_ne_bytes());
    // The type; a request that wants to be acknowledged.
    message.extend_from_slice(&16_u16.to_ne_bytes());
    message.extend_from_slice(&5_u16.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[0; 4]);
    for field in [1_u32, 1, 1] {
        message.extend_from_slice(&field.to_ne_bytes());
    }
    sendto(&line, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut reply = [0_u8; 256];
    let (length, _) = recv(&line, &mut reply, RecvFlags::empty())?;
    let error = reply.get(16..20).filter(|_| length >= 20).and_then(|bytes| bytes.try_into().ok());
    match error.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// An `/opt` of the layers' files and of the extensions that were named.
fn opt(plan: &Plan) -> io::Result<()> {
    fs::create_dir_all("/opt")?;
    empty("/opt")?;
    let extensions = Path::new("/opt/extensions");
    fs::create_dir(extensions)?;
    if let Some(opt) = &plan.opt {
        for entry in fs::read_dir(opt)? {
            let entry = entry?;
            if entry.file_name() == "extensions" {
                for extension in fs::read_dir(entry.path())? {
                    let extension = extension?;
                    place(&extension.path(), &extensions.join(extension.file_name()))?;
                }
            } else {
                place(&entry.path(), &Path::new("/opt").join(entry.file_name()))?;
            }
        }
    }
    plan.extensions.iter().try_for_each(|(name, path)| place(path, &extensions.join(name)))
}

/// A `/var` with what is in the machine's, and with the function's folder as `task`.
fn var(plan: &Plan) -> io::Result<()> {
    let before = plan.place.join("var");
    fs::create_dir(&before)?;
    // What was named may lie below it.
    let task = plan.place.join("task");
    fs::create_dir(&task)?;
    mount_bind_recursive(&plan.task, &task)?;
    mount_bind_recursive("/var", &before)?;
    empty("/var")?;
    for entry in fs::read_dir(&before)? {
        let entry = entry?;
        if entry.file_name() != "task" && entry.file_name() != "runtime" {
            place(&entry.path(), &Path::new("/var").join(entry.file_name()))?;
        }
    }
    fs::create_dir("/var/runtime")?;
    place(&task, Path::new("/var/task"))
}

fn empty(path: &str) -> io::Result<()> {
    Ok(mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(c"mode=0755"))?)
}

/// Shows what is at `from` also at `to`.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if kind.is_dir() {
        fs::create_dir(to)?;
    } else {
        fs::write(to, "")?;
    }
    Ok(mount_bind_recursive(from, to)?)
}
