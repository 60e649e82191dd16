"""`embed files --runner ray` on two local workers: a real corpus, equal to one process."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray", reason="ray comes with the extras [ray] and [integration]")

import pyarrow as pa
from pyarrow import parquet

from embedge.cli import run
from embedge.runtime.scale import shards
from embedge.runtime.scale.ray_runner import load_ray

ROOT = Path(__file__).parents[2]


# Ray and what it loads are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def cluster():
    """Two workers on this machine, started once for all tests."""
    ray = load_ray()
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20
    )
    yield
    ray.shutdown()


def table_of(out):
    return pa.concat_tables(parquet.read_table(part) for part in sorted(out.glob("part-*")))


def vectors_of(table):
    width = table.schema.field("embedding").type.list_size
    return np.array(table["embedding"].combine_chunks().flatten()).reshape(-1, width)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Pages of this repository, once as files and once as rows, and what one process makes."""
    folder = tmp_path_factory.mktemp("work")
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/python.md")]
    (folder / "pages").mkdir()
    for page in pages:
        (folder / "pages" / page.name).write_bytes(page.read_bytes())
    (folder / "pages" / "noise.bin").write_bytes(bytes(range(256)))
    lines = [line for page in pages for line in page.read_text("utf-8").splitlines() if line]
    rows = [json.dumps({"key": f"line-{n}", "body": line}) for n, line in enumerate(lines[:100])]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    with contextlib.chdir(folder):
        assert run(["files", "pages", "-f", "parquet", "-o", "single.parquet", "-q"]) == 3
        yield folder


@pytest.fixture(scope="module")
def on_ray(work, cluster):
    """One page in each shard, so that both workers have something to do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_FILES", 1)
        yield lambda *more: run(
            ["files", "pages", "--runner", "ray", "--workers", "2", "-o", "parts", "-q", *more]
        )


def test_two_workers_write_the_rows_of_one_process(work, on_ray):
    assert on_ray() == 3  # noise.bin is a failed input
    got, expected = table_of(work / "parts"), parquet.read_table(work / "single.parquet")
    assert got.drop(["embedding"]).to_pylist() == expected.drop(["embedding"]).to_pylist()
    assert np.abs(vectors_of(got) - vectors_of(expected)).max() <= 1e-6
    manifest = json.loads((work / "parts" / "manifest.json").read_text())
    assert manifest["counts"]["vectors"] == len(expected) - 1
    assert len(manifest["parts"]) == 4


def test_a_lost_part_is_made_again_and_equals_the_first(work, on_ray):
    first = table_of(work / "parts")
    (work / "parts" / "part-000002.parquet").unlink()
    assert on_ray("--resume") == 3
    assert table_of(work / "parts").equals(first)


def test_rows_of_json_lines_keep_their_ids(work, cluster):
    flags = ["--field", "body", "--id-field", "key", "-q"]
    ray = ["files", "rows.jsonl", *flags, "--runner", "ray", "--workers", "1"]
    assert run([*ray, "-o", "rows"]) == 0
    assert run(["text", "-i", "rows.jsonl", *flags, "-f", "parquet", "-o", "rows.parquet"]) == 0
    got, expected = table_of(work / "rows"), parquet.read_table(work / "rows.parquet")
    assert got["id"].to_pylist() == expected["id"].to_pylist()
    assert np.abs(vectors_of(got) - vectors_of(expected)).max() <= 1e-6


def test_an_error_of_a_worker_keeps_its_own_exit_code(work, cluster, capsys):
    arguments = ["files", "pages", "--runner", "ray", "--workers", "1", "-o", "small"]
    assert run([*arguments, "--max-memory", "1MB"]) == 7
    assert "max_memory 1 MB cannot hold embedge-mini" in capsys.readouterr().err


def test_usage_statistics_are_off_before_ray_loads(tmp_path):
    code = """
import builtins, os, sys
class Witness:
    def find_spec(self, name, path=None, target=None):
        if name == "ray":
            print("at import:", os.environ.get("RAY_USAGE_STATS_ENABLED"))
sys.meta_path.insert(0, Witness())
from embedge.runtime.scale.ray_runner import load_ray
assert "ray" not in sys.modules
load_ray()
from ray._common.usage.usage_lib import usage_stats_enabled
print("enabled:", usage_stats_enabled())
"""
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["at import: 0", "enabled: False"]
