"""`embed bench`: the figures it prints, in two forms; never how large they are."""

import json

import pytest

SHORT = ["--lengths", "16", "--rounds", "1", "--queries", "3", "--mixed", "2"]


def test_a_report_has_machine_speed_latency_start_and_memory(embed):
    done = embed("bench", *SHORT, "--cold-starts", "1")
    assert done.code == 0, done.stderr
    for part in (
        "onnxruntime", "tokens per second", "| 16 tokens", "| mixed lengths", "single query, p95",
        "first vector", "peak RSS",
    ):  # fmt: skip
        assert part in done.text
    assert "second / first" not in done.text


@pytest.mark.slow
def test_json_compares_two_models_in_the_same_rounds(embed, tiny_bundle, tiny_learned_bundle):
    done = embed(
        "bench", *SHORT, "--cold-starts", "0", "-m", tiny_bundle, "--compare", tiny_learned_bundle,
        "--batch-sizes", "1,2", "--batch-tokens", "64", "--json",
    )  # fmt: skip
    report = json.loads(done.text)
    assert [c["model"] for c in report["contestants"]] == ["tiny", "tiny-learned"]
    names = [point["name"] for point in report["throughput"]]
    assert names == [
        "16 tokens, 1 texts per batch", "16 tokens, 2 texts per batch", "mixed lengths",
        "mixed lengths, 64 tokens per batch",
    ]  # fmt: skip
    assert all(point["ratio"]["min"] > 0 for point in report["throughput"])
    assert "paths" not in report["machine"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--lengths", "16,x"], 2, "--lengths '16,x' is no list of numbers"),
        (["--lengths", ","], 2, "--lengths ',' is no list of numbers"),
        (["-m", "absent-model"], 5, "absent-model"),
        (["--compare-python", "/no/python"], 1, "/no/python cannot be started"),
        (["--lengths", "600"], 2, "a text of 600 tokens is outside"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(embed, arguments, code, message):
    done = embed("bench", *SHORT, "--cold-starts", "0", *arguments)
    assert (done.code, message in done.error) == (code, True), done.stderr
