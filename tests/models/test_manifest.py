"""A manifest loads only when it is whole, typed and free of contradictions."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.models import strict_json
from embedge.models.errors import BundleError, InvalidOption
from embedge.models.manifest import Manifest, parse_manifest, read_manifest

Raw = dict[str, Any]


@pytest.fixture
def raw(toy_bundle: Path) -> Raw:
    content: Raw = json.loads((toy_bundle / "embedge.json").read_text(encoding="utf-8"))
    return content


def test_fields_of_the_manifest_are_these(raw: Raw) -> None:
    """A frozen list: other programs read the file."""
    assert sorted(raw) == [
        "architecture", "calibration", "files", "floors", "format", "graphs", "identity",
        "license", "manifest_sha256", "matryoshka", "measured", "name", "output_ranges", "parent",
        "prompt_aliases", "recipes", "revision", "short_name", "sources", "tools",
    ]  # fmt: skip
    assert sorted(raw["identity"]) == [
        "checkpoint_sha256", "dim", "format", "max_tokens", "normalized", "pooling", "prompts",
        "recipe", "tokenizer_sha256", "variant",
    ]  # fmt: skip
    assert sorted(raw["graphs"][0]) == ["dim", "file", "variant"]
    assert sorted(raw["files"]["weights.bin"]) == ["sha256", "size"]


def test_a_manifest_reads_back_as_it_was_written(toy_bundle: Path) -> None:
    manifest = read_manifest(toy_bundle)
    assert parse_manifest(json.loads(manifest.dump()), "again") == manifest


def test_the_written_form_is_canonical(toy_bundle: Path) -> None:
    text = (toy_bundle / "embedge.json").read_text(encoding="utf-8")
    assert text == read_manifest(toy_bundle).dump()
    assert text.endswith("}\n")


def test_the_manifest_carries_the_hash_of_its_other_fields(raw: Raw) -> None:
    written = raw.pop("manifest_sha256")
    text = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert written == hashlib.sha256(text.encode("utf-8")).hexdigest()


def test_a_manifest_of_the_time_before_its_hash_still_loads(toy_bundle: Path, raw: Raw) -> None:
    whole = read_manifest(toy_bundle)
    del raw["manifest_sha256"]
    (toy_bundle / "embedge.json").write_text(json.dumps(raw), encoding="utf-8")
    assert read_manifest(toy_bundle) == whole


def test_no_flipped_bit_changes_what_a_manifest_says(toy_bundle: Path) -> None:
    path = toy_bundle / "embedge.json"
    whole, manifest = path.read_bytes(), read_manifest(toy_bundle)
    unchanged = 0
    for at in range(len(whole)):
        flipped = whole[at] ^ (1 << at % 8)
        path.write_bytes(whole[:at] + bytes([flipped]) + whole[at + 1 :])
        try:
            assert read_manifest(toy_bundle) == manifest
            unchanged += 1
        except BundleError:
            pass
    assert unchanged < 5  # 1e-5 and 1E-5 are one number


@pytest.mark.parametrize("value", ["", "0" * 64, None, 7, ["a"]])
def test_a_hash_that_is_not_that_of_the_content_is_refused(raw: Raw, value: object) -> None:
    raw["manifest_sha256"] = value
    with pytest.raises(BundleError, match=r"manifest_sha256 is .* but the content gives"):
        parse_manifest(raw, "x")


@pytest.mark.parametrize(
    ("variant", "dim", "file"),
    [
        ("int8", 8, "model.onnx"),
        ("int8", 5, "model.onnx"),
        ("int8", 4, "model-4.onnx"),
        ("int8", 1, "model-4.onnx"),
        ("int8-avx2", 4, "model-avx2.onnx"),
    ],
)
def test_the_smallest_sufficient_graph_is_chosen(
    toy_bundle: Path, variant: Any, dim: int, file: str
) -> None:
    assert read_manifest(toy_bundle).graph(variant, dim).file == file


def test_missing_variants_and_too_large_sizes_are_named(toy_bundle: Path) -> None:
    manifest = read_manifest(toy_bundle)
    with pytest.raises(InvalidOption, match="no fp32 graph, only int8, int8-avx2"):
        manifest.graph("fp32", 8)
    with pytest.raises(InvalidOption, match="at most 8"):
        manifest.graph("int8", 9)


def test_spaces_differ_by_variant_size_and_normalisation(toy_bundle: Path) -> None:
    manifest = read_manifest(toy_bundle)
    spaces = {
        manifest.space(variant, dim, normalized=normalized).fingerprint
        for variant in manifest.variants()
        for dim in (8, 4)
        for normalized in (True, False)
    }
    assert len(spaces) == 8
    assert all(space.startswith("ty-") for space in spaces)


def change(path: str, value: object) -> Callable[[Raw], None]:
    """Set the value at a path of keys joined by `>`."""

    def edit(raw: Raw) -> None:
        *parents, last = path.split(">")
        place: Any = raw
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place[key]
        place[int(last) if isinstance(place, list) else last] = value

    return edit


def remove(path: str) -> Callable[[Raw], None]:
    def edit(raw: Raw) -> None:
        *parents, last = path.split(">")
        place: Any = raw
        for key in parents:
            place = place[key]
        del place[last]

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (change("colour", 1), "unknown key colour"),
        (remove("recipes"), "missing key recipes"),
        (change("identity>colour", 1), "unknown key identity.colour"),
        (remove("identity>pooling"), "missing key identity.pooling"),
        (change("format", 2), "format 2, this version reads 1"),
        (change("format", True), "format True"),
        (change("format", "1"), "format '1'"),
        (change("name", None), "name is NoneType, expected str"),
        (change("name", "../up"), "name '../up' is not a plain name"),
        (change("name", ""), "name '' is not a plain name"),
        (change("short_name", "a b"), "short_name 'a b' is not"),
        (change("revision", "a/b"), "revision 'a/b' is not"),
        (change("identity", []), "identity is list"),
        (change("identity>dim", 8.0), "identity.dim is float"),
        (change("identity>dim", True), "identity.dim is bool"),
        (change("identity>dim", 0), "identity.dim is 0"),
        (change("identity>dim", 10**300), "identity.dim is 1000"),
        (change("identity>max_tokens", -1), "identity.max_tokens is -1"),
        (change("identity>normalized", 1), "identity.normalized is int"),
        (change("identity>normalized", False), "identity.normalized is false"),
        (change("identity>variant", "int8-avx2"), "expected fp32 or int8"),
        (change("identity>variant", "fp32"), "recipes.fp32 differs"),
        (change("identity>recipe", "int8/2"), "recipes.int8 differs from identity.recipe"),
        (change("identity>checkpoint_sha256", "A" * 64), "expected 64 hex digits"),
        (change("identity>prompts>query", 3), "identity prompts has the entry query: 3"),
        (change("identity>prompts>extra", ""), "identity.prompts has the keys"),
        (change("identity>format", 2), "identity.format is 2"),
        (change("recipes>int4", "x"), "unknown variant 'int4'"),
        (change("graphs", []), "graphs is empty"),
        (change("graphs>0>variant", "fp32"), "cannot hold"),
        (change("graphs>0>dim", 99), "dim 99, not in 1..8"),
        (change("graphs>0>dim", "8"), "graphs has the entry"),
        (change("graphs>1>dim", 8), "graphs names int8 at 8 twice"),
        (change("graphs>0>file", "none.onnx"), "files lacks the graph none.onnx"),
        (change("graphs>0", {"variant": "int8", "dim": 8}), "graphs has the entry"),
        (remove("recipes>int8-avx2"), "recipes lacks int8-avx2"),
        (change("matryoshka", [4, 8]), "expected falling sizes"),
        (change("matryoshka", [8, 8]), "expected falling sizes"),
        (change("matryoshka", [16, 8]), "expected falling sizes"),
        (change("matryoshka", [8, 4.0]), "matryoshka has the entry 4.0"),
        (change("files>../x", {"size": 1, "sha256": "a" * 64}), "not a plain file"),
        (change("files>embedge.json", {"size": 1, "sha256": "a" * 64}), "not a plain file"),
        (change("files>LICENSE", {"size": -1, "sha256": "a" * 64}), "has size -1"),
        (change("files>LICENSE", {"size": 1, "sha256": "zz"}), "hash 'zz'"),
        (change("files>LICENSE", {"size": 1.5, "sha256": "a" * 64}), "files has the entry"),
        (change("files>Weights.bin", {"size": 1, "sha256": "a" * 64}), "only by case"),
        (remove("files>tokenizer.json"), "files lacks tokenizer.json"),
        (change("prompt_aliases>passage", "passage"), "unknown task 'passage'"),
        (change("output_ranges>8", [1.0]), "output_ranges.'8' has 1 values"),
        (change("output_ranges>8", [0.0] * 8), "must be positive"),
        (change("output_ranges>8", ["a"] * 8), "output_ranges has the entry"),
        (change("floors>int8", {"mean": "high"}), "floors has the entry"),
        (change("tools>onnx", 3), "tools has the entry onnx: 3"),
        (change("sources", ["here"]), "sources has the entry 'here'"),
    ],
)
def test_each_flaw_is_refused_and_named(raw: Raw, edit: Callable[[Raw], None], said: str) -> None:
    edit(raw)
    with pytest.raises(BundleError) as failure:
        parse_manifest(raw, "toy/embedge.json")
    assert said in str(failure.value)
    assert failure.value.exit_code == 4


def test_all_flaws_are_named_at_once(raw: Raw) -> None:
    raw |= {"name": "a/b", "matryoshka": [4, 8]}
    raw["identity"] |= {"max_tokens": 0, "checkpoint_sha256": "?"}
    with pytest.raises(BundleError) as failure:
        parse_manifest(raw, "x")
    for said in ("name 'a/b'", "matryoshka", "max_tokens", "checkpoint_sha256"):
        assert said in str(failure.value)


@pytest.mark.parametrize("value", [None, [], "text", 3, True])
def test_json_that_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(BundleError, match="expected a JSON object"):
        parse_manifest(value, "x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(data=st.data())
def test_any_value_at_any_place_is_read_or_refused_but_never_crashes(data: st.DataObject) -> None:
    raw: Raw = json.loads(_ANY_MANIFEST.dump())
    del raw["manifest_sha256"]
    place = raw
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(JSON)
        break
    try:
        manifest = parse_manifest(raw, "x")
    except BundleError:
        return
    written: Raw = json.loads(manifest.dump())
    assert written.pop("manifest_sha256")
    assert written == raw
    for variant in manifest.variants():
        assert manifest.space(variant, manifest.full_dim).fingerprint


def _any_manifest() -> Manifest:
    from dataclasses import replace

    from embedge.models.manifest import FileEntry, GraphEntry
    from embedge.models.space import Identity

    entry = FileEntry(1, "c" * 64)
    identity = Identity(
        checkpoint_sha256="a" * 64, tokenizer_sha256="b" * 64, variant="fp32", recipe="fp32/1",
        pooling="mean", dim=2, normalized=True, max_tokens=8,
        prompts={"classification": "", "clustering": "", "document": "", "query": ""},
    )  # fmt: skip
    manifest = Manifest(
        name="n", short_name="s", revision="", license="MIT", identity=identity,
        recipes={"fp32": "fp32/1"}, graphs=(GraphEntry("fp32", 2, "m.onnx"),), matryoshka=(2,),
    )  # fmt: skip
    return replace(manifest, files={"m.onnx": entry, "tokenizer.json": entry})


_ANY_MANIFEST = _any_manifest()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        ('{"format": 1', "Expecting"),
        ('{"format": 1, "format": 1}', "'format' occurs twice"),
        ('{"format": NaN}', "NaN is not JSON"),
        ('{"format": -Infinity}', "-Infinity is not JSON"),
        ('{"format": 1e999}', "beyond the range"),
        ('{"format": ' + "9" * 5000 + "}", "digits"),
        ('{"format": "\\ud800"}', "surrogates"),
        ("[" * 100_000, "nested too deeply"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_json_with_traps_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "embedge.json").write_bytes(text.encode("utf-8"))
    with pytest.raises(BundleError, match="cannot be read") as failure:
        read_manifest(tmp_path)
    assert said in str(failure.value)


def test_paired_surrogates_are_ordinary_text() -> None:
    assert strict_json.loads('"\\ud83d\\ude00"') == "😀"


def test_bytes_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "embedge.json").write_bytes(b'{"name": "\xff"}')
    with pytest.raises(BundleError, match="utf-8"):
        read_manifest(tmp_path)


def test_a_folder_in_place_of_the_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "embedge.json").mkdir()
    with pytest.raises(BundleError, match="not a plain file"):
        read_manifest(tmp_path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "embedge.json").open("wb") as file:
        file.truncate(strict_json.MAX_BYTES + 1)
    with pytest.raises(BundleError, match="at most"):
        read_manifest(tmp_path)


def test_a_missing_manifest_names_the_export_command(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"embed export CHECKPOINT"):
        read_manifest(tmp_path / "nowhere")
