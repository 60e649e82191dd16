"""Passages of a text, cut with the model's tokenizer; needs no graph."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from embedge.cli.embed_options import EmbedOptions
from embedge.cli.records import FailedInput, Input
from embedge.models.errors import InvalidOption
from embedge.runtime.record_fields import passage_fields

if TYPE_CHECKING:
    from embedge.models.manifest import Manifest
    from embedge.runtime.chunking import Heading
    from embedge.runtime.embedder import Embedder
    from embedge.runtime.tokens import Tokens


class Chunker:
    """Cuts texts so that each passage fits the model beside its prefix.

    Attributes:
        around: tokens that the model sees besides the text: prefix and special tokens.
    """

    def __init__(self, tokens: "Tokens", manifest: "Manifest", options: EmbedOptions) -> None:
        """Take the budget from the model and the options.

        Raises:
            InvalidOption: the task is unknown, or the limit leaves too little room for text.
        """
        from embedge.runtime.encode_options import CHUNK_OVERLAP
        from embedge.runtime.long_text import Limits
        from embedge.runtime.tasks import Prompts

        prompts = Prompts(manifest.identity.prompts, manifest.prompt_aliases)
        prefix = prompts.choose(options.task, options.prefix).prefix
        limit = options.max_tokens or tokens.max_tokens
        if limit > tokens.max_tokens:
            raise InvalidOption(
                f"--max-tokens {limit} is above the model's limit of {tokens.max_tokens}"
            )
        overlap = options.overlap
        if overlap is None:
            overlap = min(CHUNK_OVERLAP, limit // 8)  # the default must fit small chunks, too
        n_prefix = tokens.count(prefix)
        self._room = Limits(limit, tokens.n_special, overlap).room(n_prefix)
        self._overlap = overlap
        self._tokens = tokens
        self.around = n_prefix + tokens.n_special

    @classmethod
    def of_embedder(cls, embedder: "Embedder", options: EmbedOptions) -> "Chunker":
        """Make the chunker that fits a loaded model."""
        loaded = embedder.loaded
        return cls(loaded.tokens, loaded.bundle.manifest, options)

    def pieces(
        self,
        one: Input,
        *,
        kind: str = "text",
        pages: Sequence[int] = (),
        headings: "Sequence[Heading]" = (),
    ) -> Iterator[Input]:
        """Yield one input per passage, with the offsets in its fields."""
        from embedge.runtime.chunking import chunk_text

        if isinstance(one, FailedInput):
            yield one
            return
        chunks = chunk_text(
            one.text,
            self._tokens,
            max_tokens=self._room,
            overlap=self._overlap,
            kind=kind,
            pages=pages,
            headings=headings,
        )
        name, path = str(one.fields["id"]), one.fields.get("path")
        if not chunks:
            where = None if path is None else str(path)
            message = f"{path or name}: no text, only white space"
            yield FailedInput(name, where, "empty", message, size=one.size)
        for number, chunk in enumerate(chunks):
            last = number + 1 == len(chunks)
            fields = dict(one.fields) | passage_fields(name, number, len(chunks), chunk)
            size = one.size if last else 0
            yield replace(
                one,
                text=chunk.text,
                fields=fields,
                own_prefix=False,
                last=last,
                size=size,
                n_tokens=chunk.n_tokens + self.around,
            )
