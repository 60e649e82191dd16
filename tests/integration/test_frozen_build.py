"""The PyInstaller recipe of docs/deployment/: built, then run where there is no Python."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PyInstaller", reason="PyInstaller comes with the extra [integration]")

from embedge import Embedder

RECIPE = Path(__file__).parents[2] / "docs" / "deployment" / "embed.spec"
TEXTS = ["Leases renew by email.", "Bienen machen Honig."]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """The built program, moved away from where it was built."""
    work = tmp_path_factory.mktemp("freeze")
    options = ["--distpath", "dist", "--workpath", "build", "--noconfirm", "--log-level", "ERROR"]
    done = subprocess.run(
        [sys.executable, "-m", "PyInstaller", str(RECIPE), *options],
        cwd=work, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    moved = tmp_path_factory.mktemp("elsewhere") / "embed"
    shutil.move(work / "dist" / "embed", moved)
    shutil.rmtree(work)
    return moved / "embed"


@pytest.fixture
def run(frozen, tmp_path):
    """Run it with nothing in its environment but a home: no PATH, no Python."""

    def call(*arguments, stdin=""):
        return subprocess.run(
            [frozen, *arguments], input=stdin, capture_output=True, text=True, check=True,
            cwd=tmp_path, env={"HOME": str(tmp_path)}, timeout=120,
        )  # fmt: skip

    return call


def test_it_gives_the_vectors_of_the_library(run):
    with Embedder() as embedder:
        expected = embedder.encode_query(TEXTS)
    records = [
        json.loads(line) for line in run("text", *TEXTS, "--task", "query").stdout.splitlines()
    ]
    np.testing.assert_array_equal(
        expected, np.array([record["embedding"] for record in records], np.float32)
    )


def test_it_checks_itself_and_lists_its_model(run):
    assert "embedge-mini" in run("models", "list").stdout
    report = json.loads(run("doctor", "--verify", "--json").stdout)
    assert report["model"]["name"] == "embedge-mini"


def test_it_indexes_and_searches(run, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "lease.txt").write_text(TEXTS[0])
    (tmp_path / "notes" / "bees.txt").write_text(TEXTS[1])
    run("index", "add", "notes", "--yes")
    hits = json.loads(run("search", "honey", "--json").stdout)
    assert "bees.txt" in json.dumps(hits)


def test_it_reads_a_pdf_by_starting_itself(run, documents, tmp_path):
    (tmp_path / "lease.pdf").write_bytes(documents.pdf([["Leases renew"], ["by email"]]))
    (record,) = [
        json.loads(line) for line in run("chunk", "lease.pdf", "--store-text").stdout.splitlines()
    ]
    assert record["page"] == 1
    assert record["text"].split() == ["Leases", "renew", "by", "email"]


def test_it_speaks_json_lines(run):
    request = {"id": 1, "method": "embed", "params": {"input": TEXTS}}
    ready, answer = run("serve", "--stdio", stdin=json.dumps(request) + "\n").stdout.splitlines()
    assert json.loads(ready)["ready"]["model"] == "embedge-mini"
    assert len(json.loads(answer)["result"]["embeddings"]) == 2


def test_it_serves(frozen, tmp_path):
    process = subprocess.Popen(
        [frozen, "serve", "--port", "0"],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path, env={"HOME": str(tmp_path)},
    )  # fmt: skip
    with process:
        seen = ""
        while "ready:" not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        address = seen.partition("listening on ")[2].split()[0]
        body = json.dumps({"input": TEXTS, "model": "bundled"}).encode()
        request = urllib.request.Request(f"{address}/v1/embeddings", body)
        with urllib.request.urlopen(request) as answer:
            assert len(json.load(answer)["data"]) == 2
        process.terminate()
        assert process.wait(30) == (1 if os.name == "nt" else 143)


def test_its_size_is_the_documented_one(frozen):
    page = (RECIPE.parents[1] / "deployment.md").read_text("utf-8")
    size = sum(file.stat().st_size for file in frozen.parent.rglob("*") if file.is_file()) / 1e6
    documented = float(page.partition("as one folder of ")[2].split()[0])
    assert abs(size - documented) < 40
