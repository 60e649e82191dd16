"""Exactly one prefix per text (interface 4.2)."""

import numpy as np
import pytest

from embedge import Embedder, InvalidOption
from embedge.models.space import custom_task
from embedge.runtime.tasks import Prompts

PROMPTS = {
    "classification": "classification: ",
    "clustering": "clustering: ",
    "document": "search_document: ",
    "query": "search_query: ",
}


@pytest.fixture
def prompts() -> Prompts:
    return Prompts(PROMPTS, {"Classification": "classification"})


def ids_seen(embedder: Embedder, text: str, **options: object) -> int:
    """Tokens that the model saw: one more or less prefix cannot hide."""
    result = embedder.encode(text, return_info=True, **options)  # type: ignore[call-overload]
    return int(result.info[0].n_tokens)


@pytest.mark.parametrize("task", sorted(PROMPTS))
def test_a_task_puts_its_prefix_before_the_text(embedder: Embedder, task: str) -> None:
    np.testing.assert_array_equal(
        embedder.encode(PROMPTS[task] + "the river", prefix=""),
        embedder.encode("the river", task=task),
    )


@pytest.mark.parametrize("task", sorted(PROMPTS))
def test_a_text_with_its_own_prefix_gets_no_second(embedder: Embedder, task: str) -> None:
    result = embedder.encode(PROMPTS[task] + "the river", task=task, return_info=True)
    np.testing.assert_array_equal(embedder.encode("the river", task=task), result.vectors)
    assert (result.info[0].prefix, result.info[0].task) == ("own", task)


def test_an_own_prefix_of_another_task_wins_and_warns_once(prompts: Prompts) -> None:
    asked = prompts.choose("document", None)
    with pytest.warns(UserWarning, match="its own prefix is kept"):
        prompt, rest = prompts.split_own("search_query: the river", asked)
    assert (prompt.prefix, prompt.task, rest) == ("search_query: ", "query", "the river")
    # Warnings are errors here, so a second one would fail.
    prompts.split_own("clustering: a", asked)


def test_asking_for_no_prefix_and_writing_one_by_hand_does_not_warn(prompts: Prompts) -> None:
    prompt, _ = prompts.split_own("search_query: a", prompts.choose("none", None))
    assert (prompt.task, prompt.source) == ("query", "own")


def test_the_look_for_own_prefixes_can_be_switched_off(embedder: Embedder) -> None:
    own = "search_query: the river"
    once = ids_seen(embedder, own, task="none", own_prefix=False)
    assert ids_seen(embedder, own, task="query", own_prefix=False) > once
    assert ids_seen(embedder, own, prefix="search_query: ") > once


def test_a_task_of_none_adds_nothing(embedder: Embedder) -> None:
    result = embedder.encode("the river", task="none", return_info=True)
    assert result.info[0].n_tokens == 4
    assert (result.info[0].prefix, result.info[0].task) == ("none", "none")


def test_a_custom_prefix_wins_over_the_task(embedder: Embedder) -> None:
    result = embedder.encode("river", prefix="the ", task="query", return_info=True)
    np.testing.assert_array_equal(embedder.encode("the river", prefix=""), result.vectors)
    assert result.info[0].prefix == "custom"
    assert result.info[0].task == custom_task("the ", PROMPTS)
    assert result.info[0].task.startswith("custom:")


def test_a_custom_prefix_that_equals_a_task_is_that_task(embedder: Embedder) -> None:
    result = embedder.encode("river", prefix="clustering: ", return_info=True)
    assert result.info[0].task == "clustering"


def test_a_prefix_without_a_final_space_joins_the_first_word(embedder: Embedder) -> None:
    np.testing.assert_array_equal(
        embedder.encode("theriver", prefix=""), embedder.encode("river", prefix="the")
    )


def test_aliases_mean_the_task(prompts: Prompts) -> None:
    assert prompts.choose("passage", None).prefix == "search_document: "
    assert prompts.choose("Classification", None).task == "classification"
    with pytest.raises(InvalidOption, match="choose one of document, query"):
        prompts.choose("retrieval", None)


def test_a_model_without_prompts_finds_no_own_prefix() -> None:
    bare = Prompts(dict.fromkeys(PROMPTS, ""), {})
    asked = bare.choose("document", None)
    assert asked.source == "none"
    assert bare.split_own("search_query: a", asked) == (asked, "search_query: a")


def test_tasks_may_share_a_prefix_and_keep_their_names() -> None:
    """As e5 does: `query: ` also for symmetric tasks."""
    shared = dict.fromkeys(PROMPTS, "query: ") | {"document": "passage: "}
    prompts = Prompts(shared, {})
    asked = prompts.choose("clustering", None)
    assert prompts.split_own("query: a river", asked)[0].task == "clustering"
    document = prompts.choose("none", None)
    assert prompts.split_own("query: a river", document)[0].task == "query"
    assert custom_task("query: ", shared) == "query"
