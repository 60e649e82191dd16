"""`embed models`: what is here, what it says about itself, and how it is checked and removed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedge.models.manifest import read_manifest
from embedge.models.strict_json import Json

Embed = Callable[..., Any]


@pytest.fixture
def stored(environment: dict[str, str], tiny_bundle: Path) -> Path:
    """The tiny model installed in the store of `environment`, as fp32; the default is `bundled`."""
    del environment["EMBED_MODEL"]
    name = json.loads((tiny_bundle / "embedge.json").read_text(encoding="utf-8"))["name"]
    place = Path(environment["XDG_CACHE_HOME"]) / "embedge" / "models" / name / "r1" / "fp32"
    shutil.copytree(tiny_bundle, place)
    return place


def test_list_names_the_installed_models(embed: Embed, stored: Path) -> None:
    done = embed("models", "list")
    (line,) = [line for line in done.text.splitlines() if "tiny" in line]
    assert line.split()[:3] == ["tiny", "r1", "fp32"]
    assert "32,16" in line
    rows = {row["name"]: row for row in json.loads(embed("models", "list", "--json").text)}
    assert rows["tiny"]["dims"] == [32, 16]
    assert rows["tiny"]["path"] == str(stored)
    assert rows["tiny"]["problem"] is None


def test_list_available_adds_what_can_be_pulled(embed: Embed) -> None:
    done = embed("models", "list", "--available", "--json")
    known = [row for row in json.loads(done.text) if row.get("available")]
    assert [row["name"] for row in known] == ["nomic-embed-text-v2-moe"]
    assert known[0]["revision"] == "1066b6599d099fbb93dfcb64f9c37a7c9e503e85"
    assert "not installed" in embed("models", "list", "--available").text


def test_show_gives_fingerprints_per_size_licence_and_prompts(embed: Embed, stored: Path) -> None:
    report = json.loads(embed("models", "show", "tiny", "--json").text)
    record = embed("text", "hello", "-m", "tiny", "-f", "jsonl", "-d", "16").records[0]
    assert report["fingerprints"]["fp32"]["16"] == record["space"]
    text = embed("models", "show", "tiny@fp32").text
    for said in (str(stored), record["space"], "MIT", "'search_query: '", "fp32/1"):
        assert said in text


def test_show_takes_the_path_of_a_bundle(embed: Embed, tiny_bundle: Path) -> None:
    done = embed("models", "show", tiny_bundle)
    assert done.code == 0
    assert "fp32" in done.text


def test_show_prints_measured_figures_and_only_the_lowest_of_many(
    embed: Embed, stored: Path
) -> None:
    languages: dict[str, Json] = {f"l{number}": 0.99 + number / 1000 for number in range(9)}
    figures: dict[str, Json] = {"int8": {"mean": 0.9991, "by": languages}}
    manifest = replace(read_manifest(stored), measured={"against_parent": figures})
    (stored / "embedge.json").write_text(manifest.dump(), encoding="utf-8")
    text = embed("models", "show", "tiny").text
    assert "mean               0.9991" in text
    assert "lowest of 9: l0 0.99, l1 0.991, l2 0.992, l3 0.993, l4 0.994\n" in text


def test_path_prints_the_folder(embed: Embed, stored: Path) -> None:
    assert embed("models", "path", "tiny").text == f"{stored}\n"
    assert json.loads(embed("models", "path", "tiny", "--json").text) == {"path": str(stored)}


def test_verify_finds_a_changed_byte_and_ends_with_4(embed: Embed, stored: Path) -> None:
    good = embed("models", "verify", "tiny")
    assert (good.code, good.text) == (0, f"ok   {stored}\n")
    weights = stored / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    bad = embed("models", "verify")
    assert bad.code == 4
    assert f"BAD  {stored}" in bad.text
    assert "weights.bin has SHA-256" in bad.error
    report = json.loads(embed("models", "verify", "tiny", "--json").text)
    assert "weights.bin" in report["models"][0]["problem"]


def test_verify_removes_what_killed_conversions_left(embed: Embed, stored: Path) -> None:
    left = stored.parent / ".int8.partial-0123456789ab"
    left.mkdir()
    done = embed("models", "verify", "tiny")
    assert (done.code, left.exists()) == (0, False)
    assert f"removed  {left}" in done.text


def test_damaged_models_do_not_hide_the_others(embed: Embed, stored: Path) -> None:
    shutil.copytree(stored, stored.parent.parent / "r2" / "fp32")
    (stored / "embedge.json").write_bytes(b"{")
    text = embed("models", "list").text
    assert "damaged" in text
    assert "r2" in text


def test_rm_removes_from_the_store_only(embed: Embed, stored: Path) -> None:
    would = embed("models", "rm", "tiny", "--dry-run")
    assert would.text == f"would remove {stored}\n"
    assert stored.exists()
    assert embed("models", "rm", "tiny").text == f"removed {stored}\n"
    assert not stored.exists()
    gone = embed("models", "rm", "tiny")
    assert gone.code == 5
    assert "'tiny' is not on this machine" in gone.error
    assert embed("models", "rm", stored).code == 2


def test_use_sets_the_default_and_rm_takes_it_back(
    embed: Embed, stored: Path, environment: dict[str, str]
) -> None:
    assert embed("models", "use", "tiny").text == "default model: tiny\n"
    record = embed("text", "hello", "-f", "jsonl").records[0]
    shown = json.loads(embed("models", "show", "tiny", "--json").text)
    assert record["space"] == shown["fingerprints"]["fp32"]["32"]
    assert embed("models", "list").text.count("*") == 1
    embed("models", "rm", "tiny")
    settings = Path(environment["XDG_DATA_HOME"]) / "embedge" / "settings.json"
    assert json.loads(settings.read_text(encoding="utf-8")) == {}
    assert embed("models", "use", "tiny").code == 5


def test_a_misspelt_sub_command_is_guessed(embed: Embed) -> None:
    done = embed("models", "pul", "x")
    assert (done.code, done.error) == (2, "no command 'pul'. Did you mean `embed models pull`?")


def test_flags_and_variables_win_over_the_chosen_default(
    embed: Embed, stored: Path, tiny_learned_bundle: Path
) -> None:
    embed("models", "use", "tiny")
    chosen = embed("text", "hello", "-f", "jsonl").records[0]["space"]
    other = embed("text", "hello", "-f", "jsonl", EMBED_MODEL=str(tiny_learned_bundle))
    assert other.records[0]["space"] != chosen
    flag = embed("text", "hi", "-f", "jsonl", "-m", "tiny", EMBED_MODEL=str(tiny_learned_bundle))
    assert flag.records[0]["space"] == chosen


def test_the_store_follows_the_cache_dir_flag(embed: Embed, stored: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(stored, elsewhere / "models" / "tiny" / "r9" / "fp32")
    shown = embed("models", "path", "tiny", "--cache-dir", elsewhere).text
    assert shown == f"{elsewhere / 'models' / 'tiny' / 'r9' / 'fp32'}\n"
    assert embed("models", "path", "tiny", EMBED_CACHE_DIR=str(elsewhere)).text == shown


def test_an_unknown_model_ends_with_5_and_names_pull(embed: Embed) -> None:
    for words in (("models", "show", "none"), ("text", "hi", "-m", "none")):
        done = embed(*words)
        assert done.code == 5
        assert "embed models pull" in done.error
    done = embed("models", "show", "none", "--json")
    assert json.loads(done.stderr)["error"]["code"] == "model_not_found"


def test_pull_without_network_ends_with_5(embed: Embed, no_sockets: None) -> None:
    for variables in ({"EMBED_OFFLINE": "1"}, {"HF_HUB_OFFLINE": "1"}):
        done = embed("models", "pull", "nomic-embed-text-v2-moe", **variables)
        assert done.code == 5
        assert "offline mode is on" in done.error
    assert embed("models", "pull", "nomic-embed-text-v2-moe", "--offline").code == 5


def test_pull_refuses_what_it_cannot_know(embed: Embed, no_sockets: None) -> None:
    unknown = embed("models", "pull", "toy")
    assert unknown.code == 5
    assert "organisation/name" in unknown.error
    assert embed("models", "pull", "a/b", "--variant", "int4").code == 2
    assert embed("models", "pull", "a/b", "--variant", "fp32", "--dim", "256").code == 2
