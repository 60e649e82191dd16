"""Downloads: what is fetched, continued, checked and refused."""

import errno
import os
import subprocess
import sys
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from embedge.models import disk_space, hub
from embedge.models.errors import (
    CheckpointError,
    EmbedgeError,
    ModelIntegrityError,
    ModelNotFound,
    OfflineError,
)
from embedge.models.hub import download_checkpoint, fetch_checkpoint, find_checkpoint

REPO = "maker/toy"
WEIGHTS = bytes(range(256)) * 20_000  # 5 MB


@pytest.fixture
def repo(fake_hub: Any) -> Any:
    fake_hub.add(
        REPO,
        {
            "config.json": b'{"n_embd": 8}',
            "tokenizer.json": b'{"model": {}}',
            "model.safetensors": WEIGHTS,
            "README.md": b"# Toy",
            "1_Pooling/config.json": b"{}",
            "pytorch_model.bin": b"pickle",
            "modeling_toy.py": b"import os",
            "onnx/model.safetensors": b"another",
            "rust_model.ot": b"x",
        },
    )
    return fake_hub


def names_below(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    )


def test_only_safetensors_json_and_texts_are_fetched(repo: Any, tmp_path: Path) -> None:
    folder = download_checkpoint(REPO, "main", tmp_path / "got")
    assert names_below(folder) == [
        "1_Pooling/config.json",
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    asked = {path for _, path, _ in repo.requests}
    assert not any(path.endswith((".bin", ".py", ".ot")) for path in asked)


def test_a_branch_is_resolved_to_its_commit_before_files_are_fetched(
    repo: Any, tmp_path: Path
) -> None:
    remote = find_checkpoint(REPO, None, offline=False)
    assert remote.revision == repo.commit
    fetch_checkpoint(remote, tmp_path / "got")
    resolved = [path for _, path, _ in repo.requests if "/resolve/" in path]
    assert resolved
    assert all(f"/resolve/{repo.commit}/" in path for path in resolved)


def test_the_published_model_is_pinned(fake_hub: Any) -> None:
    name, pinned = hub.resolve_name("nomic-embed-text-v2-moe", None)
    assert (name, pinned) == (
        "nomic-ai/nomic-embed-text-v2-moe",
        "1066b6599d099fbb93dfcb64f9c37a7c9e503e85",
    )
    assert hub.resolve_name(name, "other")[1] == "other"


def test_shards_are_taken_when_there_is_no_single_file(fake_hub: Any, tmp_path: Path) -> None:
    fake_hub.add(
        REPO,
        {
            "config.json": b"{}",
            "tokenizer.json": b"{}",
            "model.safetensors.index.json": b'{"weight_map": {}}',
            "model-00001-of-00002.safetensors": b"one",
            "model-00002-of-00002.safetensors": b"two",
            "adapter_model.safetensors": b"no",
        },
    )
    folder = download_checkpoint(REPO, "main", tmp_path / "got")
    assert names_below(folder) == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ]


def test_an_interrupted_download_is_continued_by_the_next_run(
    repo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)

    def interrupt(step: str, done: int, total: int | None) -> None:
        if done > 2_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_checkpoint(REPO, "main", tmp_path / "got", progress=interrupt)
    assert not (tmp_path / "got" / "model.safetensors").exists()
    (part,) = (tmp_path / "got").glob(".model.safetensors.*.part")
    kept = part.stat().st_size
    assert 2_000_000 <= kept + 200 < len(WEIGHTS)

    repo.requests.clear()
    download_checkpoint(REPO, "main", tmp_path / "got")
    assert (tmp_path / "got" / "model.safetensors").read_bytes() == WEIGHTS
    assert f"bytes={kept}-" in repo.ranges_asked("model.safetensors")
    assert not list((tmp_path / "got").glob("*.part"))


def test_the_part_of_another_version_is_not_continued(repo: Any, tmp_path: Path) -> None:
    (tmp_path / "got").mkdir()
    old = hub.RemoteFile("model.safetensors", 9, "f" * 64, None)
    (tmp_path / "got" / old.part_name).write_bytes(b"old bytes")
    folder = download_checkpoint(REPO, "main", tmp_path / "got")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_broken_line_is_mended_within_one_run(
    repo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)
    repo.cut_after["model.safetensors"] = 2_000_000
    folder = download_checkpoint(REPO, "main", tmp_path / "got")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert any(span and span != "bytes=0-" for span in repo.ranges_asked("model.safetensors"))


def test_a_server_without_ranges_starts_the_file_again(repo: Any, tmp_path: Path) -> None:
    remote = find_checkpoint(REPO, "main", offline=False)
    (weights,) = (file for file in remote.files if file.name == "model.safetensors")
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / weights.part_name).write_bytes(WEIGHTS[:1000])
    repo.ignores_ranges = True
    folder = fetch_checkpoint(remote, tmp_path / "got")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_finished_files_are_checked_and_not_fetched_twice(repo: Any, tmp_path: Path) -> None:
    folder = download_checkpoint(REPO, "main", tmp_path / "got")
    (folder / "tokenizer.json").write_bytes(b'{"model": 0 }')  # same size, other content
    repo.requests.clear()
    download_checkpoint(REPO, "main", folder)
    fetched = [path.rpartition("/")[2] for _, path, _ in repo.requests if "/resolve/" in path]
    assert fetched == ["tokenizer.json"]
    assert (folder / "tokenizer.json").read_bytes() == b'{"model": {}}'


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_with_another_hash_is_refused_and_removed(
    repo: Any, tmp_path: Path, name: str
) -> None:
    original = repo.files[REPO][name]
    repo.altered[name] = original[:-1] + b"!"
    with pytest.raises(ModelIntegrityError, match=f"{name} has the hash .* announced was"):
        download_checkpoint(REPO, "main", tmp_path / "got")
    assert name not in names_below(tmp_path / "got")
    assert not list((tmp_path / "got").glob("*.part"))
    repo.altered.clear()
    download_checkpoint(REPO, "main", tmp_path / "got")
    assert (tmp_path / "got" / name).read_bytes() == original


def test_a_shorter_file_than_announced_is_an_error(repo: Any, tmp_path: Path) -> None:
    repo.gives_hashes = False
    repo.altered["model.safetensors"] = WEIGHTS[:-5]
    with pytest.raises(EmbedgeError, match=r"failed|ended after"):
        download_checkpoint(REPO, "main", tmp_path / "got")
    assert "model.safetensors" not in names_below(tmp_path / "got")


def test_a_file_that_vanished_is_named(repo: Any, tmp_path: Path) -> None:
    remote = find_checkpoint(REPO, "main", offline=False)
    del repo.files[REPO]["tokenizer.json"]
    with pytest.raises(ModelNotFound, match=r"tokenizer\.json"):
        fetch_checkpoint(remote, tmp_path / "got")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.json": b"", "pytorch_model.bin": b""}, r"pickles \(pytorch_model.bin\)"),
        ({"config.json": b"", "tokenizer.json": b""}, "holds neither"),
        ({"model.safetensors": b"x", "config.json": b""}, "lacks tokenizer.json"),
    ],
)
def test_a_repository_that_is_no_safe_checkpoint_is_refused(
    fake_hub: Any, files: dict[str, bytes], said: str
) -> None:
    fake_hub.add(REPO, files)
    with pytest.raises(CheckpointError, match=said):
        find_checkpoint(REPO, "main", offline=False)


def test_unknown_repository_and_revision_are_model_not_found(repo: Any) -> None:
    with pytest.raises(ModelNotFound, match=r"maker/other is not on .*HF_TOKEN"):
        find_checkpoint("maker/other", None, offline=False)
    with pytest.raises(ModelNotFound, match="no revision nowhere"):
        find_checkpoint(REPO, "nowhere", offline=False)
    with pytest.raises(ModelNotFound, match="no known model"):
        find_checkpoint("toy", None, offline=False)


def test_a_server_error_and_a_missing_server_say_how_to_go_on(
    repo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.broken_status["tokenizer.json"] = 500
    with pytest.raises(EmbedgeError, match="run the command again") as failure:
        download_checkpoint(REPO, "main", tmp_path / "got")
    assert failure.value.exit_code == 1
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(EmbedgeError, match="Check HF_ENDPOINT"):
        find_checkpoint(REPO, "main", offline=False)


def test_a_web_page_instead_of_a_hub_is_recognised(
    repo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Portal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>please log in</html>")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Portal)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    with pytest.raises(EmbedgeError, match="does not answer like a model hub"):
        find_checkpoint(REPO, "main", offline=False)
    thread.join()
    server.server_close()


@pytest.mark.parametrize("variable", [None, "EMBED_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_mode_refuses_without_a_request(
    repo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    with pytest.raises(OfflineError, match="offline mode is on") as failure:
        download_checkpoint(REPO, "main", tmp_path / "got", offline=variable is None)
    assert failure.value.exit_code == 5
    assert not repo.requests


def test_too_small_a_disk_is_found_before_the_download(
    repo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: usage(0, 0, 3_000_000))
    with pytest.raises(EmbedgeError, match=r"5\.1 MB for the download.* 3\.0 MB are free"):
        download_checkpoint(REPO, "main", tmp_path / "got")
    assert not any("/resolve/" in path for _, path, _ in repo.requests)


def test_progress_counts_the_bytes_of_the_whole_download(repo: Any, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    download_checkpoint(REPO, "main", tmp_path / "got", progress=lambda *e: seen.append(e))
    total = find_checkpoint(REPO, "main", offline=False).size_bytes
    counts = [done for _, done, _ in seen]
    assert {(step, of) for step, _, of in seen} == {("download", total)}
    assert counts == sorted(counts)
    assert counts[-1] == total


def test_two_downloads_into_one_folder_do_not_mix(repo: Any, tmp_path: Path) -> None:
    from embedge.models.file_lock import FileLock

    (tmp_path / "got").mkdir()
    other = FileLock(tmp_path / "got" / ".lock")
    assert other.acquire()
    with pytest.raises(EmbedgeError, match="another process downloads"):
        download_checkpoint(REPO, "main", tmp_path / "got")
    other.release()


def test_a_full_disk_is_reported_as_such(
    repo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(OSError, match="No space left") as failure:
        download_checkpoint(REPO, "main", tmp_path / "got")
    assert failure.value.errno == errno.ENOSPC


def download_in_a_fresh_process(dest: Path, **variables: str) -> tuple[int, str, str]:
    """The HTTP client reads its settings once per process."""
    script = (
        "from pathlib import Path\n"
        "from embedge.models.hub import download_checkpoint\n"
        f"download_checkpoint({REPO!r}, 'main', Path({str(dest)!r}))\n"
    )
    dropped = ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "DISABLE_TELEMETRY", "NO_PROXY")
    kept = {key: value for key, value in os.environ.items() if key.upper() not in dropped}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=kept | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_proxy_variables_are_honoured(repo: Any, tmp_path: Path) -> None:
    """The fake hub plays the proxy; the hub's own name leads nowhere."""
    proxy, endpoint = repo.url, "http://hub.invalid"
    repo.url = endpoint  # where its redirects point
    outcome = download_in_a_fresh_process(
        tmp_path / "got", http_proxy=proxy, HTTP_PROXY=proxy, HF_ENDPOINT=endpoint
    )
    assert outcome == (0, "", "")
    assert (tmp_path / "got" / "model.safetensors").read_bytes() == WEIGHTS


def test_nothing_but_the_model_is_asked_for_and_no_package_list_is_sent(
    repo: Any, tmp_path: Path
) -> None:
    """In a fresh process, where huggingface_hub would send telemetry by default."""
    assert download_in_a_fresh_process(tmp_path / "got") == (0, "", "")
    assert all(REPO in path for _, path, _ in repo.requests)
    assert all(agent.startswith("embedge/") for agent in repo.user_agents)
    assert not any("agent/" in agent or "torch/" in agent for agent in repo.user_agents)


def test_naming_models_loads_no_http_client() -> None:
    script = (
        "import sys\n"
        "import embedge.models.hub, embedge.models.store, embedge.models.bundle\n"
        "heavy = {'huggingface_hub', 'httpx', 'requests', 'numpy', 'typer', 'onnxruntime'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
