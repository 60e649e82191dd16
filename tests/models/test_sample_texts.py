"""The packaged sample texts keep the promises that calibration and measurement rest on."""

from embedge.models.sample_texts import (
    TEXT_KINDS,
    calibration_texts,
    language_sentences,
    measurement_texts,
)
from embedge.models.space import PROMPT_TASKS


def test_no_calibration_text_is_measured() -> None:
    calibration = {row.text for row in calibration_texts()}
    assert not calibration & {row.text for row in measurement_texts()}


def test_both_sets_cover_languages_kinds_and_every_prompt() -> None:
    for rows in (calibration_texts(), measurement_texts()):
        assert len({row.language for row in rows} - TEXT_KINDS) >= 40
        assert TEXT_KINDS <= {row.language for row in rows}
        assert {row.task for row in rows} == set(PROMPT_TASKS)


def test_measurement_set_holds_short_and_long_texts_in_thousands() -> None:
    lengths = [len(row.text) for row in measurement_texts()]
    assert len(lengths) >= 2000
    assert min(lengths) <= 3
    assert sum(length > 1200 for length in lengths) >= 20


def test_sentences_come_in_at_least_forty_languages() -> None:
    sentences = language_sentences()
    assert len(sentences) >= 40
    assert all(len(set(own)) >= 4 for own in sentences.values())
