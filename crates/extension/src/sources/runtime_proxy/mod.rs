//! The Runtime API as a function sees it when it runs behind us: every call goes on to Lambda as it is, and what
//! passes tells of invocations what a library would tell, so that a function needs none.
//!
//! Passing on comes first. Bodies stream in both directions and are looked at in a bounded copy of their
//! beginning, after they have passed; whatever looking meets, the runtime and Lambda exchange what they would
//! without us. Listened on only when that is set, and before the extension registers: the Lambda Web Adapter,
//! an extension too, sends its own registration through here.

mod head;
pub(crate) mod mend;
mod pass;
mod read;

use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::address::Address;
use crate::inbox::Inbox;
use crate::log::{self, Level};

pub(crate) use head::Seen;
use pass::Proxy;
pub(crate) use read::Reader;

/// After a failed accept, so that a full table of file descriptors is not asked in a circle.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the script `datadog_wrapper` looks for in `/proc/net/unix`: an abstract socket of this name, the address
/// of the true Runtime API and ours. It is there for exactly as long as we are.
const SIGN: &str = "datadog-runtime-api-proxy";

/// Begins to pass calls on from these sockets to Lambda.
pub(crate) fn begin(listeners: Vec<TcpListener>, lambda: &Address, inbox: &Rc<Inbox>) {
    if listeners.is_empty() {
        return;
    }
    let proxy = Rc::new(Proxy::new(lambda.clone(), inbox.clone()));
    for listener in listeners {
        let sign = listener.local_addr().ok().and_then(|ours| sign(lambda, ours));
        spawn_local(serve(listener, proxy.clone(), sign));
    }
}

/// Takes connections for as long as the process lives: any number, since each is the function's own.
async fn serve(listener: TcpListener, proxy: Rc<Proxy>, _sign: Option<UnixDatagram>) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                let _ = tcp.set_nodelay(true);
                spawn_local(proxy.clone().converse(tcp));
            }
            Err(error) => {
                log::seldom(
                    Level::Warn,
                    "accept",
                    format_args!("cannot take a connection of the runtime: {error}"),
                );
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Without it the wrapper leaves the function with the true Runtime API.
fn sign(lambda: &Address, ours: SocketAddr) -> Option<UnixDatagram> {
    let name = format!("{SIGN}/{}/{ours}", lambda.authority());
    let socket = UnixAddress::from_abstract_name(name.as_bytes()).and_then(|at| UnixDatagram::bind_addr(&at));
    socket
        .inspect_err(|error| {
            log::error(format_args!(
                "the function cannot be told that its calls may go through {ours}: {error}. Its invocations will \
                 have no spans"
            ));
        })
        .ok()
}
