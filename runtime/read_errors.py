"""What the operating system says about a file, as the error code of its record."""

import errno

from embedge.models.errors import InputError

_DENIED = (errno.EACCES, errno.EPERM)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)


def read_error(path: str, error: OSError, *, was_listed: bool) -> InputError:
    """Translate a failed open, read, stat or listing.

    Args:
        path: as the record spells it.
        error: what the system raised.
        was_listed: the file was seen by a walk, so its absence means that it went away.
    """
    reason = error.strerror or type(error).__name__
    if error.errno in _DENIED:
        return InputError(f"{path}: {reason}; give this user the right to read it", "permission")
    if error.errno == errno.EISDIR:
        return InputError(f"{path} is a folder; name a file", "is_directory")
    if was_listed:
        message = f"{path} went away after it was listed ({reason}); run again to pick it up"
        return InputError(message, "vanished")
    if error.errno in _ABSENT:
        return InputError(f"{path}: {reason}; check the spelling", "not_found")
    message = f"{path} cannot be read ({reason}); check the drive it is on"
    return InputError(message, "vanished")  # a failing drive or a lost network mount


def too_large(path: str, size: int, limit: int) -> InputError:
    """Return the error for a file of `size` bytes above a limit of `limit` bytes."""
    return InputError(
        f"{path} has {size:,} bytes, the limit is {limit:,}; raise it with --max-file-size",
        "too_large",
    )
