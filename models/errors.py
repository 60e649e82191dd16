"""Every error that embedge raises on purpose.

Each class carries `code` (for records and JSON), `exit_code` (for the command) and
`http_status` (for a server), so that all surfaces agree.

    EmbedgeError
    ├── InvalidOption (ValueError)
    ├── MissingExtra (ImportError)
    ├── InputError
    │   └── TextTooLong (ValueError)
    ├── ModelNotFound (LookupError)
    │   └── OfflineError
    ├── ModelIntegrityError
    ├── BundleError
    ├── CheckpointError (ValueError)
    ├── ConfigError (ValueError)
    ├── SpaceMismatch (ValueError)
    ├── IndexDamaged
    ├── IndexLocked
    ├── MemoryBudgetError (MemoryError)
    ├── BackendError (RuntimeError)
    ├── Overloaded
    └── Cancelled
"""


class EmbedgeError(Exception):
    """Root of the tree; the message names the thing, the value and the way out."""

    code: str = "error"
    exit_code: int = 1
    http_status: int = 500


class InvalidOption(EmbedgeError, ValueError):
    """An argument or flag has a value that cannot work."""

    code = "invalid_option"
    exit_code = 2
    http_status = 400


class MissingExtra(EmbedgeError, ImportError):
    """The feature needs packages of an optional extra that is not installed."""

    code = "missing_extra"
    exit_code = 2
    http_status = 501


class InputError(EmbedgeError):
    """One input (file, row, text) cannot be embedded; `code` says why.

    Codes: not_found, permission, is_directory, binary, encoding, path_encoding, empty,
    no_text, too_large, limit, format, vanished, too_long, changed_while_reading, bad_row,
    missing_extra.
    """

    exit_code = 3
    http_status = 400

    def __init__(self, message: str, code: str = "format") -> None:
        super().__init__(message)
        self.code = code


class TextTooLong(InputError, ValueError):
    """A text exceeds the token limit and `long_text="error"` was asked for."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "too_long")


class ModelNotFound(EmbedgeError, LookupError):
    """The model is unknown or not on this machine; embedding never downloads."""

    code = "model_not_found"
    exit_code = 5
    http_status = 404


class OfflineError(ModelNotFound):
    """The command needs the network and offline mode forbids it."""

    code = "offline"


class ModelIntegrityError(EmbedgeError):
    """A file of a bundle differs from its manifest, or a self-test failed."""

    code = "integrity"
    exit_code = 4
    http_status = 503


class BundleError(EmbedgeError):
    """A folder is not a bundle, or its manifest cannot be used by this version."""

    code = "bundle"
    exit_code = 4
    http_status = 503


class CheckpointError(EmbedgeError, ValueError):
    """A checkpoint's files or tensors break the contract of the architecture."""

    code = "checkpoint"
    exit_code = 4


class ConfigError(EmbedgeError, ValueError):
    """A checkpoint's config describes a model that would be computed wrongly."""

    code = "config"
    exit_code = 4


class SpaceMismatch(EmbedgeError, ValueError):
    """Vectors of two spaces would meet."""

    code = "space_mismatch"
    exit_code = 6
    http_status = 409


class IndexDamaged(EmbedgeError):
    """A file is no index of ours, is damaged, or was written by a newer version."""

    code = "index_damaged"
    exit_code = 6
    http_status = 503


class IndexLocked(EmbedgeError):
    """Another process writes to the index; readers are never blocked."""

    code = "index_locked"
    http_status = 503


class MemoryBudgetError(EmbedgeError, MemoryError):
    """`max_memory` cannot be met."""

    code = "memory"
    exit_code = 7
    http_status = 413


class BackendError(EmbedgeError, RuntimeError):
    """ONNX Runtime failed, or a vector holds NaN or infinity."""

    code = "backend"


class Overloaded(EmbedgeError):
    """More work waits than the server takes; `retry_after` says when to come back, in seconds."""

    code = "overloaded"
    http_status = 429

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Cancelled(EmbedgeError):
    """The caller cancelled the run."""

    code = "cancelled"
    exit_code = 130
    http_status = 499
