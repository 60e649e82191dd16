"""Prose, markup that reads well as it is, and source code: the text itself."""

import re

from embedge.runtime.chunking import ChunkKind
from embedge.runtime.chunking.outline import read_outline
from embedge.runtime.extract.decoding import decode
from embedge.runtime.extract.document import Document
from embedge.runtime.extract.registry import Source

_MARKUP: dict[str, tuple[ChunkKind, str]] = {
    ".md": ("markdown", "text/markdown"),
    ".markdown": ("markdown", "text/markdown"),
    ".mdx": ("markdown", "text/markdown"),
    ".rmd": ("markdown", "text/markdown"),
    ".qmd": ("markdown", "text/markdown"),
    ".rst": ("rst", "text/x-rst"),
}

_CODE = frozenset(
    (
        ".asm .awk .bash .bat .c .cc .clj .cljs .cmake .cmd .cpp .cs .css .cu .cuh .cxx .d .dart "
        ".el .elm .erl .ex .exs .f .f90 .fs .fsx .go .gradle .graphql .groovy .h .hcl .hh .hpp "
        ".hs .hxx .inl .java .jl .js .jsx .kt .kts .less .lisp .lua .m .mjs .ml .mli .mm .nim .nix "
        ".pas .php .pl .pm .proto .ps1 .py .pyi .pyx .r .rb .rkt .rs .s .sass .scala .scm .scss "
        ".sh .sol .sql .sv .svelte .swift .tcl .tf .ts .tsx .v .vb .vhd .vhdl .vim .vue .zig .zsh"
    ).split()
)

_SURROUNDING = re.compile(r"\A\s+|\s+\Z")


def read_plain(source: Source) -> Document:
    """Decode; the chunker finds its way by the suffix: Markdown, reStructuredText, code, text."""
    text, encoding = decode(source)
    kind, media_type = _MARKUP.get(source.suffix, ("text", "text/plain"))
    if source.suffix in _CODE:
        kind, media_type = "code", "text/x-source"
    return Document(
        text=text,
        media_type=media_type,
        kind=kind,
        encoding=encoding,
        extractor="text/1",
        title=_title(text, kind),
    )


def _title(text: str, kind: ChunkKind) -> str | None:
    """Return the first heading of the highest level that occurs."""
    headings = read_outline(text, kind).headings
    return min(headings, key=lambda heading: heading.level).title or None if headings else None
