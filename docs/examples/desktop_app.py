"""A desktop app that searches notes: `python desktop_app.py FOLDER`, then type questions.

`embed serve --stdio` is its child: no port, nothing imported; any language can do the same.
"""

import base64
import itertools
import json
import os
import struct
import subprocess
import sys
from pathlib import Path


class Embed:
    """The child process; `call` sends one request and waits for its answer."""

    def __init__(self) -> None:
        command = [os.environ.get("EMBED_COMMAND", "embed"), "serve", "--stdio"]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._ids = itertools.count()
        first = self._read()
        if "fatal" in first:
            raise SystemExit(first["fatal"]["message"])
        self.model = first["ready"]["model"]

    def _read(self) -> dict:
        return json.loads(self._child.stdout.readline())

    def call(self, method: str, **params: object) -> dict:
        request = {"id": next(self._ids), "method": method, "params": params}
        self._child.stdin.write(json.dumps(request).encode() + b"\n")
        self._child.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        return answer["result"]

    def vectors(self, texts: list[str], task: str) -> list[tuple[float, ...]]:
        packed = map(base64.b64decode, self.call("embed", input=texts, task=task)["embeddings"])
        return [struct.unpack(f"<{len(row) // 4}f", row) for row in packed]


def main(folder: str) -> None:
    embed, passages = Embed(), []
    for path in sorted(Path(folder).glob("*.txt")):
        for chunk in embed.call("chunk", text=path.read_text("utf-8"))["chunks"]:
            passages.append((path.name, chunk["text"].strip()))
    vectors = embed.vectors([text for _, text in passages], "document")
    print(f"{len(passages)} passages, {embed.model}; ask something, or press Ctrl-D", flush=True)
    for question in sys.stdin:
        (wanted,) = embed.vectors([question.strip()], "query")
        scores = [sum(a * b for a, b in zip(wanted, v, strict=True)) for v in vectors]
        score, (name, text) = max(zip(scores, passages, strict=True))
        print(f"{score:.2f} {name}: {text}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
