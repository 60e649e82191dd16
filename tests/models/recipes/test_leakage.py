from pathlib import Path

import pytest

from embedge.models.errors import CheckpointError
from embedge.models.recipes.leakage import check_no_leakage

QUESTION = "Which river flows through the old town of the capital city of the country?"
CHINESE = "这条河流经这个国家首都的老城区然后一直向北流入大海"


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    folder = tmp_path / "evaluation"
    (folder / "bitext").mkdir(parents=True)
    (folder / "retrieval").mkdir()
    (folder / "bitext" / "zh-en.tsv").write_text(f"{CHINESE}\tTom likes green apples.\nJa.\tYes.\n")
    (folder / "retrieval" / "queries.jsonl").write_text(f'{{"_id": "1", "text": "{QUESTION}"}}\n')
    (folder / "retrieval" / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n")
    return folder


def test_clean_training_text_is_counted(evaluation: Path) -> None:
    clean = ["A river flows through the town.", "Yes.", "河流经首都", "Tom likes apples."]

    assert check_no_leakage(evaluation, clean) == 4


@pytest.mark.parametrize(
    "leaking",
    [
        "Tom likes green apples.",
        "tom likes GREEN apples!",
        "He asked: which river flows through the old town of Prague?",
        f"有人说{CHINESE[:21]}",
    ],
    ids=["sentence", "other case and punctuation", "eight words", "twenty characters"],
)
def test_shared_text_fails_and_is_shown(evaluation: Path, leaking: str) -> None:
    with pytest.raises(CheckpointError, match="1 of 2 training texts") as failure:
        check_no_leakage(evaluation, ["A clean sentence about boats.", leaking])

    assert leaking[:10] in str(failure.value)


def test_a_shorter_common_run_is_no_leak(evaluation: Path) -> None:
    seven_words = "which river flows through the old town"

    assert check_no_leakage(evaluation, [seven_words, CHINESE[:19]]) == 2


def test_an_evaluation_folder_without_text_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no evaluation text"):
        check_no_leakage(tmp_path, ["anything"])
