"""JSON formats: `jsonl` (one record per line), `json`, and the body of OpenAI's endpoint."""

from embedge.cli.output.numbers import json_array, json_text
from embedge.cli.output.target import Target
from embedge.cli.records import Fields, Record


def record_json(record: Record) -> str:
    """Return one record as a JSON object; `embedding` comes last."""
    head = json_text(dict(record.fields))
    if record.vector is None:
        return head
    return f'{head[:-1]},"embedding":{json_array(record.vector)}}}'


class JsonLines:
    """`jsonl`: one record per line."""

    def __init__(self, target: Target, facts: Fields) -> None:
        self._target = target

    def write(self, record: Record) -> None:
        """Add one line."""
        self._target.write(f"{record_json(record)}\n".encode())

    def finish(self) -> None:
        """Write nothing more."""


class JsonArray:
    """`json`: the bare array of numbers of a single text, else an array of records."""

    def __init__(self, target: Target, facts: Fields) -> None:
        self._target = target
        self._bare = bool(facts["single"])
        self._first = True

    def write(self, record: Record) -> None:
        """Add one element, or the whole answer for a single text."""
        if self._bare:
            vector = record.vector
            body = record_json(record) if vector is None else json_array(vector)
            self._target.write(f"{body}\n".encode())
            return
        mark = "[\n" if self._first else ",\n"
        self._first = False
        self._target.write(f"{mark}{record_json(record)}".encode())

    def finish(self) -> None:
        """Close the array."""
        if not self._bare:
            self._target.write(b"[]\n" if self._first else b"\n]\n")


class OpenAiBody:
    """`openai`: the answer of `POST /v1/embeddings`; failed inputs leave a gap in `index`."""

    def __init__(self, target: Target, facts: Fields) -> None:
        self._target = target
        self._model = facts["model"]
        self._index = -1
        self._tokens = 0
        self._separator = "\n"
        target.write(b'{"object":"list","data":[')

    def write(self, record: Record) -> None:
        """Add one embedding."""
        self._index += 1
        if record.vector is None:
            return
        tokens = record.fields["n_tokens"]
        assert isinstance(tokens, int)
        self._tokens += tokens
        body = f'{{"object":"embedding","index":{self._index},"embedding":'
        self._target.write(f"{self._separator}{body}{json_array(record.vector)}}}".encode())
        self._separator = ",\n"

    def finish(self) -> None:
        """Close the body with model and usage."""
        usage = {"prompt_tokens": self._tokens, "total_tokens": self._tokens}
        tail = json_text({"model": self._model, "usage": usage})
        self._target.write(f"\n],{tail[1:]}\n".encode())
