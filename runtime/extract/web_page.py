"""HTML: what a reader sees, as Markdown where it helps the chunker: headings, fences, lists."""

import re
from html import unescape
from html.parser import HTMLParser

from embedge.models.errors import InputError
from embedge.runtime.extract.decoding import decode, without_lone_surrogates
from embedge.runtime.extract.document import Document
from embedge.runtime.extract.registry import Source

_DROPPED = frozenset("script style template svg math noscript iframe object".split())
_BLOCKS = frozenset(
    (
        "address article aside blockquote body caption center dd details dialog div dl dt fieldset "
        "figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html li main menu nav ol "
        "p pre section summary table tbody tfoot thead tr ul"
    ).split()
)
_TIGHT = frozenset("li dt dd tr caption summary".split())  # one line break before, not two
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_WHITE = re.compile(r"[ \t\n\r\f]+")
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9._:-]+)""")


def read_html(source: Source) -> Document:
    """Read the visible text; scripts and styles are dropped, headings become `#` lines.

    Raises:
        InputError: `no_text`, `binary`, `encoding`.
    """
    title, body, encoding = _read(source)
    if not body:
        raise InputError(f"{source.path} has markup but no text to embed", "no_text")
    return Document(
        text=body,
        media_type="text/html",
        kind="markdown",
        encoding=encoding,
        extractor="html/1",
        title=title or None,
    )


def visible_text(source: Source) -> str:
    """Return the text of a page that is part of another file; it may be empty.

    Raises:
        InputError: `binary`, `encoding`.
    """
    return _read(source)[1]


def _read(source: Source) -> tuple[str, str, str]:
    """Return title, text and encoding."""
    declared = _DECLARED.search(source.data[:2048])
    text, encoding = decode(source, declared.group(1).decode() if declared else None)
    page = _Page()
    page.feed(text)
    page.end()
    title = _WHITE.sub(" ", page.title).strip()
    return without_lone_surrogates(title), without_lone_surrogates(page.text()), encoding


class _Page(HTMLParser):
    """Collects text; white space is collapsed outside `pre`, blocks are set apart."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self._parts: list[str] = []
        self._breaks = 0  # line breaks owed before the next text
        self._has_space = True  # the text so far ends with white space
        self._dropped: list[str] = []
        self._in_title = False
        self._pre: list[str] | None = None

    def text(self) -> str:
        """Return everything collected, without white space around it."""
        return "".join(self._parts).strip()

    def end(self) -> None:
        """Finish at the end of the file.

        `HTMLParser.close` is not used: it tries a tag or comment that never ends again from
        each `<` in it, which takes quadratic time. A browser drops it, and so do we.
        """
        rest = self.rawdata
        if rest and not re.match(r"<[A-Za-z/!?]", rest):
            self.handle_data(unescape(rest))
        if self._pre is not None:
            self._end_pre()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropped.append(tag)
        elif tag == "title":
            self._in_title = not self.title
        elif tag == "br":
            self._break(1)
        elif tag in ("td", "th"):
            self._add_words(" " if self._breaks else " | ")
        elif tag in _BLOCKS:
            self._start_block(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _DROPPED and tag not in ("title", "pre"):  # these would never end
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._dropped:
            while self._dropped.pop() != tag:
                pass
        elif tag == "title":
            self._in_title = False
        elif tag == "pre" and self._pre is not None:
            self._end_pre()
        elif tag in _BLOCKS:
            self._break(1 if tag in _TIGHT else 2)

    def handle_data(self, data: str) -> None:
        if self._dropped:
            return
        if self._in_title:
            self.title += data
        elif self._pre is not None:
            self._pre.append(data)
        else:
            self._add_words(_WHITE.sub(" ", data))

    def _start_block(self, tag: str) -> None:
        self._break(1 if tag in _TIGHT else 2)
        if tag in _HEADINGS:
            self._mark("#" * _HEADINGS[tag] + " ")
        elif tag == "li":
            self._mark("- ")
        elif tag == "pre" and self._pre is None:
            self._pre = []

    def _break(self, count: int) -> None:
        if self._pre is not None:
            self._pre.append("\n" if count == 1 else "")
        else:
            self._breaks = max(self._breaks, count)

    def _mark(self, mark: str) -> None:
        if self._pre is None and not self._dropped:
            self._add_words(mark)
            self._has_space = True

    def _add_words(self, words: str) -> None:
        if self._dropped:
            return
        if self._breaks or self._has_space:
            words = words.lstrip(" ")
        if not words:
            return
        self._parts.append("\n" * self._breaks + words)
        self._breaks = 0
        self._has_space = words.endswith(" ")

    def _end_pre(self) -> None:
        """Put preformatted text into a fence longer than any that it holds."""
        content = "".join(self._pre or ()).strip("\r\n")
        self._pre = None
        if content.strip():
            longest = max((len(run) for run in re.findall(r"`{3,}", content)), default=2)
            fence = "`" * (longest + 1)
            self._breaks = 2
            self._add_words(f"{fence}\n{content}\n{fence}")
        self._breaks = 2
