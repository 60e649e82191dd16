"""The fingerprint names what decides the numbers, and nothing else."""

import hashlib
import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.models.errors import SpaceMismatch
from embedge.models.space import Identity, Space, canonical_json, custom_task, tasks_compare

TEXT = st.text(max_size=12)
PROMPTS = st.fixed_dictionaries(
    {task: TEXT for task in ("classification", "clustering", "document", "query")}
)
FIELD_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "checkpoint_sha256": TEXT,
    "tokenizer_sha256": TEXT,
    "variant": st.sampled_from(("fp32", "int8", "int8-avx2")),
    "recipe": TEXT,
    "pooling": TEXT,
    "dim": st.integers(1, 4096),
    "normalized": st.booleans(),
    "max_tokens": st.integers(1, 8192),
    "prompts": PROMPTS,
    "format": st.integers(1, 9),
}
IDENTITIES = st.builds(Identity, **FIELD_VALUES)


@given(identity=IDENTITIES, data=st.data())
def test_every_field_of_the_identity_changes_the_fingerprint(
    identity: Identity, data: st.DataObject
) -> None:
    for name, values in FIELD_VALUES.items():
        other = data.draw(values.filter(lambda value, n=name: value != getattr(identity, n)))
        changed = replace(identity, **{name: other})
        assert Space(changed, "x").digest != Space(identity, "x").digest, name


@given(identity=IDENTITIES, first=TEXT, second=TEXT)
def test_nothing_else_changes_the_fingerprint(identity: Identity, first: str, second: str) -> None:
    backwards = replace(identity, prompts=dict(reversed(list(identity.prompts.items()))))
    assert Space(backwards, first).digest == Space(identity, second).digest
    Space(backwards, first).require_equal(Space(identity, second), "")


def test_the_property_test_covers_every_field() -> None:
    assert {field.name for field in fields(Identity)} == FIELD_VALUES.keys()


def test_fingerprint_is_the_hash_of_the_written_form() -> None:
    identity = Identity(
        checkpoint_sha256="aa",
        tokenizer_sha256="bb",
        variant="int8",
        recipe="int8/1",
        pooling="mean",
        dim=256,
        normalized=True,
        max_tokens=512,
        prompts={"query": "q: ", "document": "ü: ", "clustering": "", "classification": ""},
    )
    written = (
        '{"checkpoint_sha256":"aa","dim":256,"format":1,"max_tokens":512,"normalized":true,'
        '"pooling":"mean","prompts":{"classification":"","clustering":"","document":"ü: ",'
        '"query":"q: "},"recipe":"int8/1","tokenizer_sha256":"bb","variant":"int8"}'
    )
    expected = hashlib.sha256(written.encode("utf-8")).hexdigest()[:8]
    assert str(Space(identity, "nv2m")) == f"nv2m-{expected}"


@given(st.dictionaries(TEXT, st.integers() | TEXT))
def test_canonical_json_reads_back_and_ignores_order(value: dict[str, Any]) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(dict(reversed(list(value.items())))) == text
    assert text == text.strip()


def test_running_choices_replace_the_stored_ones() -> None:
    stored = Identity(
        checkpoint_sha256="aa", tokenizer_sha256="bb", variant="int8", recipe="int8/1",
        pooling="mean", dim=768, normalized=True, max_tokens=512, prompts={},
    )  # fmt: skip
    cut = stored.running(variant="int8-avx2", recipe="int8/1", dim=256, normalized=False)
    assert (cut.variant, cut.dim, cut.normalized) == ("int8-avx2", 256, False)
    assert cut.checkpoint_sha256 == "aa"


def test_mixing_names_both_spaces_the_first_difference_and_the_way_out() -> None:
    here = Identity(
        checkpoint_sha256="aa", tokenizer_sha256="bb", variant="int8", recipe="int8/1",
        pooling="mean", dim=768, normalized=True, max_tokens=512, prompts={},
    )  # fmt: skip
    mine, theirs = Space(here, "nv2m"), Space(replace(here, dim=256, recipe="int8/2"), "nv2m")
    with pytest.raises(SpaceMismatch) as failure:
        mine.require_equal(theirs, "Run `embed index update`.")
    message = str(failure.value)
    assert mine.fingerprint in message
    assert theirs.fingerprint in message
    assert "dim is 256, here 768" in message
    assert message.endswith("Run `embed index update`.")
    assert failure.value.exit_code == 6


def test_only_query_and_document_compare_across_tasks() -> None:
    tasks = ("document", "query", "classification", "clustering", "none", "custom:12345678")
    pairs = {(a, b) for a in tasks for b in tasks if a != b and tasks_compare(a, b)}
    assert pairs == {("document", "query"), ("query", "document")}
    assert all(tasks_compare(task, task) for task in tasks)


def test_a_verbatim_prefix_from_the_table_is_that_task() -> None:
    prompts = {"query": "search_query: ", "document": "search_document: "}
    assert custom_task("search_query: ", prompts) == "query"
    assert custom_task("", prompts) == "none"
    expected = hashlib.sha256(b"title: ").hexdigest()[:8]
    assert custom_task("title: ", prompts) == f"custom:{expected}"
