"""What docs/integrations.md prints runs as printed."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integrations.md").read_text("utf-8")
NEEDS = {
    "LangChain": "langchain_core",
    "LlamaIndex": "llama_index",
    "Chroma": "chromadb",
    "Haystack": "haystack",
    "llm": "llm",
}


def sections(language):
    """Yield (heading, block) for every block of a language."""
    for section in PAGE.split("\n## ")[1:]:
        for block in re.findall(rf"```{language}\n(.*?)```", section, re.S):
            yield section.partition("\n")[0], block


def run(arguments, folder):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HOME": str(folder), "LLM_USER_PATH": str(folder)}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def require(heading):
    needed = NEEDS.get(heading)
    if needed is not None and find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed; it comes with the extra [integration]")


@pytest.mark.parametrize(("heading", "block"), list(sections("python")))
def test_a_python_example_finds_what_it_asks_for(heading, block, tmp_path):
    require(heading)
    printed = run([sys.executable, "-c", block], tmp_path)
    assert printed
    if "print(" in block and heading in ("LangChain", "LlamaIndex", "Chroma", "Haystack"):
        assert "Leases renew by email." in printed
        assert "Bees" not in printed


def test_the_llm_commands_run_as_printed(tmp_path):
    require("llm")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "lease.md").write_text("Leases renew by email.")
    ((_, block),) = [found for found in sections("sh") if found[0] == "llm"]
    models, query, _ = [run(["bash", "-c", line], tmp_path) for line in block.splitlines()]
    assert "embedge-mini-document" in models
    assert query.startswith("[")
    assert "lease.md" in run(["llm", "similar", "notes", "-c", "lease"], tmp_path)


def test_every_adapter_has_an_example():
    from embedge.runtime import adapters

    blocks = "".join(block for _, block in sections("python"))
    assert [name for name in adapters.__all__ if name not in blocks] == []
