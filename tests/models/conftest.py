"""Bundles without numbers, and a model hub on 127.0.0.1 that can fail on purpose."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from embedge.models.bundle import Bundle, new_bundle
from embedge.models.manifest import GraphEntry, Manifest
from embedge.models.space import Identity

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_manifest(**changes: Any) -> Manifest:
    """A manifest of an int8 bundle with two sizes; `identity_*` changes the identity."""
    identity = Identity(
        checkpoint_sha256="a" * 64,
        tokenizer_sha256="b" * 64,
        variant="int8",
        recipe="int8/1",
        pooling="mean",
        dim=8,
        normalized=True,
        max_tokens=64,
        prompts={"classification": "c: ", "clustering": "k: ", "document": "d: ", "query": "q: "},
    )
    identity_changes = {
        key.removeprefix("identity_"): changes.pop(key)
        for key in list(changes)
        if key.startswith("identity_")
    }
    manifest = Manifest(
        name="toy",
        short_name="ty",
        revision="r1",
        license="MIT",
        identity=replace(identity, **identity_changes),
        recipes={"int8": "int8/1", "int8-avx2": "int8/1"},
        graphs=(
            GraphEntry("int8", 8, "model.onnx"),
            GraphEntry("int8", 4, "model-4.onnx"),
            GraphEntry("int8-avx2", 8, "model-avx2.onnx"),
        ),
        matryoshka=(8, 4),
        prompt_aliases={"passage": "document"},
        output_ranges={"8": (0.5,) * 8, "4": (0.5,) * 4},
        measured={"int8": {"mean_cosine": 0.999}},
        sources=({"name": "weights", "license": "MIT"},),
    )
    return replace(manifest, **changes)


def fill_draft(folder: Path) -> None:
    """Write the files that `make_manifest` names, with recognisable content."""
    for name in ("model.onnx", "model-4.onnx", "model-avx2.onnx", "tokenizer.json", "LICENSE"):
        (folder / name).write_bytes(name.encode() * 50)
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 40)


def write_toy_bundle(out: Path, **changes: Any) -> Bundle:
    """Write a bundle with a valid manifest and meaningless files."""
    with new_bundle(out) as draft:
        fill_draft(draft.folder)
        return draft.finish(make_manifest(**changes))


@pytest.fixture
def make_toy() -> Callable[..., Path]:
    """Write a toy bundle to a path; keywords change its manifest."""
    return lambda out, **changes: write_toy_bundle(out, **changes).path


@pytest.fixture
def toy_bundle(tmp_path: Path) -> Path:
    return write_toy_bundle(tmp_path / "toy").path


@dataclass
class FakeHub:
    """What the hub offers, how it fails, and what it was asked."""

    url: str = ""
    commit: str = COMMIT
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    cut_after: dict[str, int] = field(default_factory=dict)
    broken_status: dict[str, int] = field(default_factory=dict)
    broken_after_cut: dict[str, int] = field(default_factory=dict)
    altered: dict[str, bytes] = field(default_factory=dict)
    ignores_ranges: bool = False
    gives_hashes: bool = True
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    user_agents: set[str] = field(default_factory=set)

    def add(self, repo: str, files: dict[str, bytes]) -> None:
        self.files[repo] = files

    def add_folder(self, repo: str, folder: Path) -> None:
        self.add(
            repo,
            {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            },
        )

    def ranges_asked(self, name: str) -> list[str | None]:
        return [span for _, path, span in self.requests if path.endswith(f"/{name}")]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep the test output clean."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        self.hub.user_agents.add(self.headers.get("User-Agent", ""))
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", path)
        file = re.fullmatch(r"/(?:cdn/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        match = info or file
        if match is None:
            self._send(404, b"no such route")
        elif match[1] not in self.hub.files:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif (commit := self.hub.branches.get(match[2], match[2])) != self.hub.commit:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif info:
            self._send(200, json.dumps(self._info(match[1], commit)).encode())
        else:
            self._file(match[1], match[3], is_cdn=path.startswith("/cdn/"), with_body=with_body)

    def _info(self, repo: str, commit: str) -> dict[str, Any]:
        siblings = []
        for name, data in self.hub.files[repo].items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(data)}
            if self.hub.gives_hashes and name.endswith(".safetensors"):
                sha256 = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 130}
            if self.hub.gives_hashes:
                header = b"blob %d\0" % len(data)
                entry["blobId"] = hashlib.sha1(header + data).hexdigest()
            siblings.append(entry)
        return {"id": repo, "sha": commit, "siblings": siblings, "tags": []}

    def _file(self, repo: str, name: str, *, is_cdn: bool, with_body: bool) -> None:
        data = self.hub.altered.get(name, self.hub.files[repo].get(name))
        if data is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        if name in self.hub.broken_status:
            self._send(self.hub.broken_status[name], b"broken on purpose")
            return
        headers = {
            "X-Repo-Commit": self.hub.commit,
            "ETag": '"' + hashlib.sha256(data).hexdigest() + '"',
        }
        if name.endswith(".safetensors") and not is_cdn:  # large files live elsewhere
            self._send(
                302, b"", {**headers, "Location": f"{self.hub.url}/cdn{urlsplit(self.path).path}"}
            )
            return
        start, status = 0, 200
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if span and not self.hub.ignores_ranges:
            start, status = int(span[1]), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        cut = self.hub.cut_after.pop(name, None)
        if cut is not None and name in self.hub.broken_after_cut:
            self.hub.broken_status[name] = self.hub.broken_after_cut[name]
        self._send(status, body if with_body else b"", headers, length=len(body), cut=cut)

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        length: int | None = None,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:  # the line breaks in the middle of the file
            self.close_connection = True


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A running hub; `HF_ENDPOINT` points at it, and no other setting of the host leaks in."""
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name in ("HF_HUB_OFFLINE", "EMBED_OFFLINE", "HF_TOKEN", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()
