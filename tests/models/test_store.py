"""Names of models: bundled, stored, paths; where they lie on each platform; the default."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from embedge.models import places, store
from embedge.models.errors import InvalidOption, ModelNotFound
from embedge.models.store import (
    bundled_bundles,
    clean_store,
    default_model,
    find_model,
    installed_models,
    remove_model,
    store_path,
    use_model,
)

MakeToy = Callable[..., Path]

FP32 = {
    "identity_variant": "fp32",
    "identity_recipe": "fp32/1",
    "recipes": {"fp32": "fp32/1"},
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and data folder, set through the environment."""
    monkeypatch.setenv("EMBED_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "data"))
    return tmp_path / "cache"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_toy: MakeToy) -> Path:
    """A package that ships exactly one model, `toy-mini`."""
    package = tmp_path / "package"
    folder = make_toy(package / "toy_mini", name="toy-mini")
    monkeypatch.setattr(store, "files", lambda _: package)
    return folder


def fp32_toy(make_toy: MakeToy, out: Path) -> Path:
    from embedge.models.manifest import GraphEntry

    return make_toy(out, **FP32, graphs=(GraphEntry("fp32", 8, "model.onnx"),))


@pytest.mark.parametrize(
    ("platform", "variables", "cache", "data"),
    [
        ("linux", {"HOME": "/h"}, "/h/.cache/embedge", "/h/.local/share/embedge"),
        (
            "linux",
            {"HOME": "/h", "XDG_CACHE_HOME": "/c", "XDG_DATA_HOME": "/d"},
            "/c/embedge",
            "/d/embedge",
        ),
        (
            "linux",
            {"HOME": "/h", "XDG_CACHE_HOME": "relative"},
            "/h/.cache/embedge",
            "/h/.local/share/embedge",
        ),
        (
            "darwin",
            {"HOME": "/h"},
            "/h/Library/Caches/embedge",
            "/h/Library/Application Support/embedge",
        ),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/embedge/Cache", "/l/embedge"),
        (
            "linux",
            {"HOME": "/h", "EMBED_CACHE_DIR": "/mine"},
            "/mine",
            "/h/.local/share/embedge",
        ),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="paths as POSIX writes them")
def test_places_follow_the_platform(
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    variables: dict[str, str],
    cache: str,
    data: str,
) -> None:
    for name in ("EMBED_CACHE_DIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(places.sys, "platform", platform)
    assert store.cache_dir() == Path(cache)
    assert store.data_dir() == Path(data)
    assert store.models_dir() == Path(cache) / "models"
    assert store.models_dir(Path("/other")) == Path("/other/models")


def test_bundled_models_are_found_by_alias_and_name(cache: Path, shipped: Path) -> None:
    assert bundled_bundles() == {"toy-mini": shipped}
    assert find_model("bundled") == shipped
    assert find_model("toy-mini") == shipped
    assert find_model("toy-mini@int8") == shipped


def test_a_package_without_a_model_says_how_to_get_one(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "files", lambda _: tmp_path)
    with pytest.raises(ModelNotFound, match="embed models pull"):
        find_model("bundled")


def test_stored_models_are_found_by_name_precision_and_revision(
    cache: Path, make_toy: MakeToy
) -> None:
    int8 = make_toy(store_path("toy", "r1", "int8"))
    fp32 = fp32_toy(make_toy, store_path("toy", "r1", "fp32"))
    assert int8 == cache / "models" / "toy" / "r1" / "int8"
    assert find_model("toy") == int8
    assert find_model("toy@int8") == int8
    assert find_model("toy@fp32") == fp32
    assert find_model("toy", variant="fp32") == fp32
    assert find_model("toy", variant="int8-avx2") == int8
    assert find_model("toy", revision="r") == int8
    assert find_model("someone/toy") == int8


def test_the_newest_revision_is_taken_unless_one_is_named(cache: Path, make_toy: MakeToy) -> None:
    new = make_toy(store_path("toy", "aaa", "int8"))
    old = make_toy(store_path("toy", "bbb", "int8"))
    os.utime(old / "embedge.json", (1, 1))
    assert find_model("toy") == new
    assert find_model("toy", revision="bb") == old


def test_a_folder_is_found_by_its_path_and_known_names_come_first(
    cache: Path, shipped: Path, tmp_path: Path, make_toy: MakeToy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = make_toy(tmp_path / "mine")
    make_toy(tmp_path / "toy-mini")
    assert find_model(str(mine)) == mine
    assert find_model("./toy-mini") == Path("toy-mini")
    assert find_model("mine") == Path("mine")
    assert find_model("toy-mini") == shipped


@pytest.mark.parametrize("name", ["other", "other@int8", "", "toy@fp32", "..", ".hidden", "a/b/c"])
def test_unknown_models_are_not_found(
    cache: Path, make_toy: MakeToy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_toy(store_path("toy", "r1", "int8"))
    if name == "..":
        name = "../nowhere"
    with pytest.raises(ModelNotFound) as failure:
        find_model(name)
    assert failure.value.exit_code == 5


def test_the_message_names_what_is_here_and_the_pull_command(
    cache: Path, shipped: Path, make_toy: MakeToy
) -> None:
    make_toy(store_path("toy", "r1", "int8"))
    with pytest.raises(ModelNotFound, match=r"here are toy-mini, toy\..*embed models pull nomic"):
        find_model("nomic-embed-text-v2-moe")


def test_an_unknown_precision_is_refused(cache: Path) -> None:
    with pytest.raises(InvalidOption, match="'int4' is no precision"):
        find_model("toy@int4")


def test_half_written_and_hidden_folders_are_no_models(cache: Path, make_toy: MakeToy) -> None:
    make_toy(cache / "models" / "toy" / "r1" / ".int8.partial-0123456789ab")
    make_toy(cache / "models" / ".trash" / "r1" / "int8")
    (cache / "models" / "toy" / "r2" / "int8").mkdir(parents=True)
    assert [m.name for m in installed_models(cache) if not m.is_bundled] == []
    with pytest.raises(ModelNotFound):
        find_model("toy")


def test_damaged_models_are_listed_with_their_problem(
    cache: Path, shipped: Path, make_toy: MakeToy
) -> None:
    broken = make_toy(store_path("toy", "r1", "int8"))
    (broken / "embedge.json").write_bytes(b"{")
    bundled, damaged = installed_models()
    assert (bundled.reference, bundled.revision, bundled.is_bundled) == (
        "toy-mini@int8",
        "r1",
        True,
    )
    assert (damaged.reference, damaged.manifest) == ("toy@int8", None)
    assert "cannot be read" in (damaged.problem or "")


def test_removing_takes_one_precision_or_all(cache: Path, make_toy: MakeToy) -> None:
    int8 = make_toy(store_path("toy", "r1", "int8"))
    fp32 = fp32_toy(make_toy, store_path("toy", "r1", "fp32"))
    other = make_toy(store_path("other", "r1", "int8"))
    assert remove_model("toy@fp32") == [fp32]
    assert int8.exists()
    assert remove_model("toy") == [int8]
    assert [path.name for path in (cache / "models").iterdir()] == ["other"]
    assert other.exists()


def test_bundled_models_and_paths_cannot_be_removed(cache: Path, shipped: Path) -> None:
    for name in ("bundled", "toy-mini"):
        with pytest.raises(InvalidOption, match="ships in the package"):
            remove_model(name)
    with pytest.raises(InvalidOption, match="is a path"):
        remove_model(str(shipped))
    with pytest.raises(ModelNotFound):
        remove_model("other")
    assert shipped.exists()


def test_the_default_is_bundled_until_another_is_chosen(
    cache: Path, shipped: Path, make_toy: MakeToy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_model() == "bundled"
    make_toy(store_path("toy", "r1", "int8"))
    use_model("toy@int8")
    assert default_model() == "toy@int8"
    monkeypatch.chdir(tmp_path)
    make_toy(tmp_path / "mine")
    use_model("mine")
    assert default_model() == str(tmp_path / "mine"), "a path is kept absolute"
    use_model("bundled")
    assert default_model() == "bundled"


def test_only_models_that_are_here_can_become_the_default(cache: Path, shipped: Path) -> None:
    with pytest.raises(ModelNotFound):
        use_model("other")
    assert default_model() == "bundled"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_settings_are_private_and_keep_what_they_do_not_know(cache: Path, shipped: Path) -> None:
    places.change_settings(colour="blue")
    use_model("toy-mini")
    settings = places.data_dir() / "settings.json"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.parent.stat().st_mode) == 0o700
    assert places.read_settings() == {"colour": "blue", "model": "toy-mini"}


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_damaged_settings_are_reported_not_ignored(cache: Path, content: bytes) -> None:
    places.data_dir().mkdir(parents=True)
    (places.data_dir() / "settings.json").write_bytes(content)
    with pytest.raises(InvalidOption, match="Mend or remove it"):
        default_model()


def test_what_killed_conversions_left_in_the_store_is_cleaned(
    cache: Path, make_toy: MakeToy
) -> None:
    kept = make_toy(store_path("toy", "r1", "int8"))
    left = kept.parent / ".fp32.partial-0123456789ab"
    left.mkdir()
    assert clean_store() == [left]
    assert kept.exists()
