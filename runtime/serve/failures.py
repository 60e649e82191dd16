"""From an error to a status and a body, in the form that each family of clients reads."""

from enum import Enum

from embedge.models.errors import (
    BackendError,
    EmbedgeError,
    InputError,
    InvalidOption,
    ModelNotFound,
    Overloaded,
    TextTooLong,
)


class Dialect(Enum):
    """Whose form a route speaks."""

    OPENAI = "openai"
    OLLAMA = "ollama"
    TEI = "tei"


class BadField(InvalidOption):
    """A field of a body is missing or wrong; `param` names it."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


class EmptyInput(BadField):
    """There is nothing to embed."""

    code = "empty"


class UnknownModel(ModelNotFound):
    """A request names a model that is not served here; `model` is the name."""

    def __init__(self, model: str, message: str) -> None:
        super().__init__(message)
        self.model = model


class RequestError(EmbedgeError):
    """The request itself cannot be taken, whatever its fields say."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        close: bool = False,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.http_status = status
        self.code = code
        self.close = close
        self.headers = headers


class Unavailable(EmbedgeError):
    """The server is loading, stopping, or too slow at the moment; the same request may work later.

    `retry_after` is in seconds.
    """

    code = "unavailable"
    http_status = 503

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def stopping() -> Unavailable:
    """Return the refusal of a server that ends."""
    return Unavailable("the server stops; try again when it has started")


_TEI_TYPES = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    424: "Backend",
    429: "Overloaded",
    503: "Unhealthy",
}


def status_of(error: EmbedgeError, dialect: Dialect) -> int:
    """Return the HTTP status of an error."""
    if dialect is Dialect.TEI and not isinstance(error, RequestError):
        if isinstance(error, EmptyInput):
            return 400
        if isinstance(error, InvalidOption | InputError):
            return 422
        if isinstance(error, BackendError):
            return 424
    return error.http_status


def body_of(error: EmbedgeError, status: int, dialect: Dialect) -> dict[str, object]:
    """Return the JSON body of an error."""
    if dialect is Dialect.OLLAMA:
        return {"error": _ollama_message(error)}
    if dialect is Dialect.TEI:
        kind = "Empty" if isinstance(error, EmptyInput) else _TEI_TYPES.get(status, "Validation")
        return {"error": str(error), "error_type": kind}
    code = "context_length_exceeded" if isinstance(error, TextTooLong) else error.code
    return {
        "error": {
            "message": str(error),
            "type": _openai_type(status),
            "param": error.param if isinstance(error, BadField) else None,
            "code": code,
        }
    }


def headers_of(error: EmbedgeError) -> dict[str, str]:
    """Return the headers that an error adds to its answer."""
    if isinstance(error, Overloaded | Unavailable):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, RequestError):
        closing = {"Connection": "close"} if error.close else {}
        return dict(error.headers) | closing
    return {}


def _openai_type(status: int) -> str:
    if status == 401:
        return "authentication_error"
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def _ollama_message(error: EmbedgeError) -> str:
    if isinstance(error, TextTooLong):
        return "the input length exceeds the context length"
    if isinstance(error, UnknownModel):
        return f"model '{error.model}' not found"
    return str(error)
