//! Bound sockets.

use super::{Bind, Peer, io::Stream};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Connections that the kernel keeps while we are busy: a second's worth for a busy door.
const BACKLOG: i32 = 1024;
/// After this much silence the kernel asks whether a peer is still there, so that connections whose
/// other end vanished do not fill the list.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct BindError {
    address: String,
    reason: String,
}

/// A bound socket.
#[derive(Debug)]
pub enum Bound {
    /// A TCP socket.
    Tcp(TcpListener, SocketAddr),
    /// A Unix socket, whose file is removed with it if it is still the same.
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket that we made.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Bound {
    /// Binds. Has to be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] says what is in the way.
    pub fn bind(bind: &Bind) -> Result<Self, BindError> {
        match bind {
            Bind::Tcp(address) => tcp(*address).map_err(|error| BindError {
                address: address.to_string(),
                reason: explain(&error, *address),
            }),
            Bind::Unix { path, mode, group } => unix(path, *mode, *group).map_err(|error| BindError {
                address: path.display().to_string(),
                reason: error.to_string(),
            }),
        }
    }

    /// Gives a Unix socket that is bound already the mode and group that it should have by now.
    ///
    /// # Errors
    /// [`BindError`], as where the process may not give the file away.
    pub fn permit(bind: &Bind) -> Result<(), BindError> {
        match bind {
            Bind::Tcp(_) => Ok(()),
            Bind::Unix { path, mode, group } => permit(path, *mode, *group).map_err(|error| BindError {
                address: path.display().to_string(),
                reason: error.to_string(),
            }),
        }
    }

    /// The TCP address: the one the system chose, where port 0 was asked for.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match self {
            Bound::Tcp(_, address) => Some(*address),
            Bound::Unix(..) => None,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        match self {
            Bound::Tcp(listener, _) => {
                let (stream, address) = listener.accept().await?;
                // Both only fail on a connection that is already gone.
                let _ = stream.set_nodelay(true);
                Ok((Accepted::Tcp(stream.into_std()?), Peer::Ip(address.ip().to_canonical())))
            }
            Bound::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Accepted::Unix(stream.into_std()?), Peer::Unix))
            }
        }
    }
}

/// A connection on its way from the thread that accepted it to the one that serves it.
pub(super) enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(StdUnixStream),
}

impl Accepted {
    /// From now on the thread that calls this one is told of the connection's events.
    pub(super) fn arrive(self) -> io::Result<Stream> {
        Ok(match self {
            Accepted::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            Accepted::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Tcp(_, address) => write!(f, "{address}"),
            Bound::Unix(_, file) => write!(f, "unix:{}", file.path.display()),
        }
    }
}

fn tcp(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?; // a restart does not wait for the last connections' TIME_WAIT
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let address = listener.local_addr()?;
    Ok(Bound::Tcp(listener, address))
}

fn explain(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied if address.port() < 1024 => format!(
            "{error} (ports below 1024 need the capability CAP_NET_BIND_SERVICE; systemd: AmbientCapabilities=)"
        ),
        io::ErrorKind::AddrNotAvailable if !matches!(address.ip(), IpAddr::V4(ip) if ip.is_unspecified()) => {
            format!("{error} (no interface of this machine has it)")
        }
        _ => error.to_string(),
    }
}

/// Binds beside the final name and renames, so that the socket is never seen with another mode or
/// group than it should have, and a stale file is replaced in one step.
fn unix(path: &Path, mode: u32, group: Option<u32>) -> io::Result<Bound> {
    refuse_live(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let _ = std::fs::remove_file(&beside);
    let bound = (|| {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(&beside)?)?;
        permit(&beside, mode, group)?;
        socket.listen(BACKLOG)?;
        let inode = std::fs::metadata(&beside)?.ino();
        std::fs::rename(&beside, path)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Bound::Unix(listener, SocketFile { path: path.to_owned(), inode }))
    })();
    if bound.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    bound
}

fn permit(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
    group.map_or(Ok(()), |group| std::os::unix::fs::chown(path, None, Some(group)))
}

/// A socket that somebody answers on is not ours to replace, nor is a file that is no socket.
fn refuse_live(path: &Path) -> io::Result<()> {
    let Ok(file) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !file.file_type().is_socket() {
        return Err(io::Error::other("there is a file of that name that is no socket"));
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process is listening on it")),
        Err(_stale) => Ok(()),
    }
}
