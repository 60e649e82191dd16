"""The socket that a server listens on."""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from embedge.models.errors import EmbedgeError, InvalidOption
from embedge.runtime.serve.options import ServeOptions

_BACKLOG = 2048


def open_socket(options: ServeOptions) -> socket.socket:
    """Return the bound, listening socket.

    Raises:
        EmbedgeError: the address is taken, or cannot be used.
    """
    if options.uds is not None:
        return _unix_socket(options.uds)
    host = options.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name != "nt":  # there it would let two servers share a port
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, options.port))
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        raise EmbedgeError(_reason(error, host, options.port)) from error
    opened.setblocking(False)
    return opened


def address_of(opened: socket.socket, options: ServeOptions) -> str:
    """Return where clients reach the server."""
    if options.uds is not None:
        return f"unix:{options.uds}"
    host, port = opened.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def close_socket(opened: socket.socket, options: ServeOptions) -> None:
    """Close the socket and remove the file of a Unix one."""
    opened.close()
    if options.uds is not None:
        options.uds.unlink(missing_ok=True)


def _unix_socket(path: Path) -> socket.socket:
    """Return a socket that only this user can open (mode 0600).

    Raises:
        InvalidOption: this system has none, or `path` is another file.
        EmbedgeError: another server listens there.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise InvalidOption(f"--uds {path}: Python has no Unix sockets here; use --host and --port")
    _remove_stale(path)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # the file never has another mode, not even for a moment
    try:
        opened.bind(str(path))
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        raise EmbedgeError(
            f"--uds {path}: {error.strerror or error}. Choose another path"
        ) from error
    finally:
        os.umask(before)
    opened.setblocking(False)
    return opened


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise InvalidOption(f"--uds {path} exists and is no socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        raise EmbedgeError(f"--uds {path}: another server listens there; choose another path")
    path.unlink(missing_ok=True)


def _reason(error: OSError, host: str, port: int) -> str:
    where = f"{host} port {port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken by another program; choose another one with --port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{where} needs rights that this user lacks; choose a --port above 1023"
    return f"cannot listen on {where}: {error.strerror or error}. Choose another --host"
