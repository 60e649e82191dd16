"""`embed models pull` from a hub on this machine to a model that embeds."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from embedge.cli import run as run_command
from embedge.models import disk_space
from embedge.models.bundle import open_bundle
from embedge.models.manifest import Manifest

REPO = "maker/tiny"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, and no EMBED_ variable of the host."""
    for name in [name for name in os.environ if name.startswith("EMBED_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EMBED_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "cache"


@pytest.fixture
def hub(fake_hub: Any, tiny_checkpoint: Path) -> Any:
    fake_hub.add_folder(REPO, tiny_checkpoint)
    return fake_hub


Pull = Callable[..., tuple[int, dict[str, Any] | str]]


@pytest.fixture
def pull(cache: Path, hub: Any, capsys: pytest.CaptureFixture[str]) -> Pull:
    """Run `embed models pull`; gives the exit code and the report, or the error message."""

    def run(*words: str, name: str = REPO) -> tuple[int, dict[str, Any] | str]:
        code = run_command(["models", "pull", name, "--json", "--no-measure", *words])
        captured = capsys.readouterr()
        if code == 0:
            report: dict[str, Any] = json.loads(captured.out)
            return code, report
        message: str = json.loads(captured.err)["error"]["message"]
        return code, message

    return run


def manifest_in(cache: Path, precision: str, name: str = "tiny") -> Manifest:
    (path,) = (cache / "models" / name).glob(f"*/{precision}")
    return open_bundle(path, verify="full").manifest


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_a_pulled_int8_model_embeds_and_nothing_else_is_kept(
    pull: Pull, cache: Path, hub: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = pull()
    assert code == 0
    assert isinstance(report, dict)
    place = cache / "models" / "tiny" / hub.commit / "int8"
    assert (report["path"], report["is_new"]) == (str(place), True)
    manifest = manifest_in(cache, "int8")
    assert manifest.revision == hub.commit, "the commit, not the branch"
    assert manifest.variants() == ("int8", "int8-avx2")
    assert [entry.name for entry in (cache / "models").rglob("fp32")] == []
    assert list((cache / "downloads").iterdir()) == []
    assert not any(path.is_symlink() for path in cache.rglob("*"))

    assert run_command(["text", "hello", "-m", "tiny", "-f", "jsonl"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["dim"] == 32
    assert record["space"] in report["fingerprints"]["int8"].values() or record["space"] in (
        report["fingerprints"]["int8-avx2"].values()
    )


def test_an_fp32_pull_keeps_the_fp32_bundle(pull: Pull, cache: Path, hub: Any) -> None:
    code, report = pull("--variant", "fp32")
    assert code == 0
    assert manifest_in(cache, "fp32").variants() == ("fp32",)
    assert isinstance(report, dict)
    assert report["manifest"]["identity"]["variant"] == "fp32"


def test_a_second_pull_finds_the_model_and_asks_only_for_the_commit(
    pull: Pull, cache: Path, hub: Any
) -> None:
    pull("--variant", "fp32")
    hub.requests.clear()
    code, report = pull("--variant", "fp32")
    assert code == 0
    assert isinstance(report, dict)
    assert report["is_new"] is False
    assert not any("/resolve/" in path for _, path, _ in hub.requests)
    hub.requests.clear()
    pull("--variant", "fp32", "--revision", hub.commit)
    assert hub.requests == [], "a full commit needs no question"


@pytest.mark.slow
def test_int8_is_made_from_a_stored_fp32_bundle_without_a_download(
    pull: Pull, cache: Path, hub: Any
) -> None:
    pull("--variant", "fp32")
    hub.requests.clear()
    code, _ = pull("--revision", hub.commit)
    assert code == 0
    assert hub.requests == []
    assert manifest_in(cache, "int8").parent
    assert manifest_in(cache, "fp32")


@pytest.mark.slow
def test_the_parent_and_the_download_are_kept_on_request(pull: Pull, cache: Path, hub: Any) -> None:
    assert pull("--keep-parent", "--keep-download")[0] == 0
    assert manifest_in(cache, "fp32").variants() == ("fp32",)
    assert manifest_in(cache, "int8").variants() == ("int8", "int8-avx2")
    assert any(name.endswith("model.safetensors") for name in files_below(cache / "downloads"))


@pytest.mark.slow
def test_dim_limits_the_graphs_and_a_later_pull_adds_the_others(
    pull: Pull, cache: Path, hub: Any
) -> None:
    assert pull("--dim", "16", "--keep-parent")[0] == 0
    assert {graph.dim for graph in manifest_in(cache, "int8").graphs} == {16}
    code, report = pull()
    assert code == 0
    assert isinstance(report, dict)
    assert report["is_new"] is True
    assert {graph.dim for graph in manifest_in(cache, "int8").graphs} == {16, 32}
    assert pull("--dim", "32")[1]["is_new"] is False  # type: ignore[index]


def test_an_interrupted_pull_goes_on_where_it_stopped(
    pull: Pull, cache: Path, hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    size = len(hub.files[REPO]["model.safetensors"])
    hub.cut_after["model.safetensors"] = size // 2
    hub.broken_after_cut["model.safetensors"] = 503
    code, message = pull("--variant", "fp32")
    assert code == 1
    assert "continues where it stopped" in str(message)
    assert list((cache / "models").rglob("embedge.json")) == []

    hub.broken_status.clear()
    hub.requests.clear()
    assert pull("--variant", "fp32")[0] == 0
    assert any(span for span in hub.ranges_asked("model.safetensors"))


def test_an_altered_file_ends_with_4_and_installs_nothing(
    pull: Pull, cache: Path, hub: Any
) -> None:
    weights = bytearray(hub.files[REPO]["model.safetensors"])
    weights[-1] ^= 1
    hub.altered["model.safetensors"] = bytes(weights)
    code, message = pull()
    assert code == 4
    assert "model.safetensors has the hash" in str(message)
    assert list((cache / "models").rglob("embedge.json")) == []


def test_too_small_a_disk_names_the_three_parts(
    pull: Pull, hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: usage)
    code, message = pull()
    assert code == 1
    for part in ("for the download", "for the fp32 parent", "for the int8 result", "are free"):
        assert part in str(message)
    assert not any("/resolve/" in path for _, path, _ in hub.requests)


def test_a_checkpoint_of_another_architecture_installs_nothing(
    pull: Pull, cache: Path, hub: Any
) -> None:
    config = json.loads(hub.files[REPO]["config.json"])
    config["activation_function"] = "swiglu"
    hub.files[REPO]["config.json"] = json.dumps(config).encode()
    code, message = pull()
    assert code == 4
    assert "activation_function" in str(message)
    assert list((cache / "models").rglob("embedge.json")) == []


def test_only_the_hub_is_spoken_to(
    pull: Pull, hub: Any, monkeypatch: pytest.MonkeyPatch, checkpoints: ModuleType
) -> None:
    import socket

    connect, spoken_to = socket.socket.connect, []

    def watching(self: socket.socket, address: Any) -> None:
        spoken_to.append(f"http://{address[0]}:{address[1]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watching)
    assert pull("--variant", "fp32")[0] == 0
    assert set(spoken_to) == {hub.url}


def test_a_name_that_no_folder_can_have_is_refused_before_the_conversion(
    pull: Pull, cache: Path, hub: Any, tiny_checkpoint: Path
) -> None:
    side_file = json.loads((tiny_checkpoint / "embedge-source.json").read_text(encoding="utf-8"))
    side_file["name"] = "a/b"
    hub.files[REPO]["embedge-source.json"] = json.dumps(side_file).encode()
    code, message = pull("--variant", "fp32")
    assert code == 4
    assert "'a/b'" in str(message)
    assert files_below(cache / "models") == []


def test_a_killed_pull_is_cleaned_by_the_next(pull: Pull, cache: Path, hub: Any) -> None:
    left = cache / "models" / "tiny" / hub.commit / ".fp32.partial-0123456789ab"
    (left / "fp32").mkdir(parents=True)
    assert pull("--variant", "fp32")[0] == 0
    assert not left.exists()
