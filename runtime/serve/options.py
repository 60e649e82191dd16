"""What a server is started with, and which of it cannot work."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from embedge.models.errors import InvalidOption
from embedge.models.space import TASKS
from embedge.runtime.long_text import LONG_TEXT, LongText

DEFAULT_PORT = 8017
"""Not taken by Ollama, GPT4All, llama.cpp, Infinity or TEI."""

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
"""Names of this machine in a Host header, without port."""

OPEN_PATHS = ("/healthz", "/readyz", "/health")
"""Need no key: probes have none."""

LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Options of the HTTP server; times in seconds, sizes in bytes.

    Attributes:
        host: address or name to listen on.
        port: 0 takes any free one.
        uds: path of a Unix socket, instead of host and port.
        api_key: clients must send it as a bearer token.
        served_model_names: what clients may call the model, beside its own name.
        default_task: of requests that name none.
        long_text: of OpenAI requests.
        payload_limit: largest body.
        max_concurrent_requests: requests that compute or wait at one time; more get 429.
        max_batch_tokens: padded tokens of one batch; None: from the memory model.
        max_batch_texts: texts of one batch at most.
        request_timeout_s: a request that waits longer without progress gets 503.
        body_timeout_s: a request must have arrived whole by then.
        stop_timeout_s: what still runs then is cut off.
        auto_truncate: of TEI requests that do not say.
        accept_token_ids: take arrays of ids of this model's tokenizer as input.
        index: database of the folder index for `/v1/search`; None: no such route.
        browse: serve the search page.
        cors_allow_origins: browser origins that may call.
        allowed_hosts: further names in the Host header.
        threads, cache_dir: for opening the index.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    uds: Path | None = None
    api_key: str | None = None
    served_model_names: tuple[str, ...] = ()
    default_task: str = "none"
    long_text: LongText = "mean"
    payload_limit: int = 2_000_000
    max_concurrent_requests: int = 512
    max_batch_tokens: int | None = None
    max_batch_texts: int | None = None
    request_timeout_s: float = 60.0
    body_timeout_s: float = 30.0
    stop_timeout_s: float = 10.0
    auto_truncate: bool = True
    accept_token_ids: bool = False
    index: Path | None = None
    browse: bool = False
    cors_allow_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    threads: int | None = None
    cache_dir: Path | None = field(default=None)

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            InvalidOption: names every problem.
        """
        problems = [text for failed, text in self._rules() if failed]
        if problems:
            raise InvalidOption("; ".join(problems))

    def _rules(self) -> tuple[tuple[bool, str], ...]:
        tasks = ", ".join(TASKS)
        return (
            (
                self.uds is None and not is_loopback(self.host) and not self.api_key,
                f"--host {self.host} can be reached from other machines; set --api-key, or stay "
                f"on 127.0.0.1",
            ),
            (
                self.api_key is not None and not _is_header_text(self.api_key),
                "--api-key must be visible ASCII characters without spaces, at least one",
            ),
            (not 0 <= self.port <= 65535, f"--port {self.port} is outside 0 to 65535"),
            (
                self.default_task not in TASKS,
                f"--default-task {self.default_task!r} is unknown; choose one of {tasks}",
            ),
            (
                self.long_text not in LONG_TEXT or self.long_text == "chunk",
                f"--long-text {self.long_text} gives no single vector; choose mean, truncate or "
                f"error",
            ),
            (self.payload_limit < 1, f"--payload-limit {self.payload_limit} is below 1"),
            (
                self.max_concurrent_requests < 1,
                f"--max-concurrent-requests {self.max_concurrent_requests} is below 1",
            ),
            (self.request_timeout_s <= 0, "--request-timeout must be above zero"),
            (self.browse and self.index is None, "--browse needs --index"),
            (
                any(not origin.startswith(("http://", "https://")) and origin != "*"
                    for origin in self.cors_allow_origins),
                "--cors-allow-origin takes origins such as http://localhost:3000, or *",
            ),
        )  # fmt: skip


def is_loopback(host: str) -> bool:
    """Say whether an address, or the name `localhost`, is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_header_text(text: str) -> bool:
    return bool(text) and all("!" <= char <= "~" for char in text)
