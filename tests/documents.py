"""Documents written by hand: PDF, DOCX and EPUB, good ones and bad ones.

Not a test; `tests/conftest.py` offers it as the fixture `documents`.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
_PASSWORD_PADDING = bytes.fromhex(
    "28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A"
)


def pdf(
    pages: Sequence[Sequence[str]],
    *,
    info: Mapping[str, str] | None = None,
    password: str | None = None,
    unpacked: int = 0,
    bookmarks: Sequence[tuple[int, str, int | None]] = (),
    links: Sequence[tuple[int, str, int]] = (),
) -> bytes:
    """A PDF with one line of text per string, in any script, and no font file.

    Args:
        pages: lines as printed, from left to right: right-to-left scripts reversed.
        info: document properties.
        password: that opens it (40-bit RC4).
        unpacked: bytes of white space that the content of each page is packed from.
        bookmarks: depth from 0, title and page from 0 (None for none), parents first.
        links: wrong ones: number of a bookmark, `First` or `Next`, number of another one.
    """
    characters = sorted({character for lines in pages for line in lines for character in line})
    codes = {character: number for number, character in enumerate(characters, start=1)}
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", *_font(codes)]
    kids = []
    for lines in pages:
        content = _content(lines, codes)
        if unpacked:
            content = zlib.compress(content + b" " * unpacked, 9)
        filter_ = b" /Filter /FlateDecode" if unpacked else b""
        objects.append(_stream(content, filter_))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 "
            b"3 0 R >> >> /Contents %d 0 R >>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(kids))
    trailer = b"/Root 1 0 R"
    if bookmarks:
        objects[0] = b"<< /Type /Catalog /Pages 2 0 R /Outlines %d 0 R >>" % (len(objects) + 1)
        objects += _outline(bookmarks, links, kids, len(objects) + 1)
    if info:
        rows = (f"/{key} <{value.encode('utf-16').hex()}>" for key, value in info.items())
        objects.append(b"<< %s >>" % " ".join(rows).encode())
        trailer += b" /Info %d 0 R" % len(objects)
    if password is not None:
        objects.append(_encryption(password))
        trailer += b" /Encrypt %d 0 R /ID [<%s> <%s>]" % (len(objects), b"00" * 16, b"00" * 16)
    return _put_together(objects, trailer)


def docx(
    body: str,
    *,
    properties: Mapping[str, str] | None = None,
    members: Mapping[str, str | bytes] | None = None,
) -> bytes:
    """A DOCX with the given XML in its body, heading styles, and more members."""
    styles = (
        "".join(
            f'<w:style w:styleId="H{level}"><w:name w:val="heading {level}"/></w:style>'
            for level in (1, 2, 3)
        )
        + '<w:style w:styleId="Own"><w:name w:val="My own"/><w:basedOn w:val="H2"/></w:style>'
        '<w:style w:styleId="Bullets"><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr>'
        "</w:style>"
    )
    names = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in (properties or {}).items())
    core = (
        f'<cp:coreProperties {DC} xmlns:cp="urn:cp">{names}</cp:coreProperties>' if names else None
    )
    parts: dict[str, str | bytes | None] = {
        "_rels/.rels": relations(
            officeDocument="word/document.xml", **{"core-properties": "docProps/core.xml"}
        ),
        "word/_rels/document.xml.rels": relations(styles="styles.xml", footnotes="footnotes.xml"),
        "word/document.xml": f"<w:document {W}><w:body>{body}</w:body></w:document>",
        "word/styles.xml": f"<w:styles {W}>{styles}</w:styles>",
        "docProps/core.xml": core,
    }
    return archive({name: part for name, part in (parts | dict(members or {})).items() if part})


def paragraph(text: str, style: str = "", inside: str = "") -> str:
    """XML of one paragraph; `inside` comes after the text."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{escape(text)}</w:t>{inside}</w:r></w:p>"


def relations(**targets: str) -> str:
    """XML of a `.rels` member."""
    rows = (
        f'<Relationship Id="{kind}" Type="{OFFICE}/{kind}" Target="{target}"/>'
        for kind, target in targets.items()
    )
    return f'<Relationships xmlns="{RELATIONS}">{"".join(rows)}</Relationships>'


def epub(
    chapters: Mapping[str, str | bytes],
    *,
    metadata: str = "",
    items: str = "",
    members: Mapping[str, str | bytes] | None = None,
) -> bytes:
    """An EPUB whose chapters lie in `OEBPS/`, in the order of the mapping."""
    manifest = "".join(
        f'<item id="c{number}" href="{name}" media-type="application/xhtml+xml"/>'
        for number, name in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="c{number}"/>' for number in range(len(chapters)))
    package = (
        f'<package xmlns="http://www.idpf.org/2007/opf" {DC}><metadata>{metadata}</metadata>'
        f"<manifest>{manifest}{items}</manifest><spine>{spine}</spine></package>"
    )
    parts: dict[str, str | bytes] = {
        "mimetype": b"application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:'
        'container"><rootfiles><rootfile full-path="OEBPS/book.opf" '
        'media-type="application/oebps-package+xml"/></rootfiles></container>',
        "OEBPS/book.opf": package,
    }
    parts |= {f"OEBPS/{name}": text for name, text in chapters.items()}
    return archive(parts | dict(members or {}))


def archive(members: Mapping[str, str | bytes]) -> bytes:
    """A zip file; `mimetype` is stored, as EPUB wants it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in members.items():
            how = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            zipped.writestr(name, data, compress_type=how)
    return buffer.getvalue()


def _font(codes: Mapping[str, int]) -> list[bytes]:
    """Objects 3 to 6: a font without glyphs, and what its codes mean."""
    rows = [
        f"<{number:04X}> <{character.encode('utf-16-be').hex()}>"
        for character, number in codes.items()
    ]
    blocks = [rows[start : start + 100] for start in range(0, len(rows), 100)]
    meanings = "\n".join(
        f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar" for block in blocks
    )
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def "
        "/CMapType 2 def 1 begincodespacerange <0000> <FFFF> endcodespacerange\n"
        f"{meanings}\nendcmap CMapName currentdict /CMap defineresource pop end end"
    )
    return [
        b"<< /Type /Font /Subtype /Type0 /BaseFont /F /Encoding /Identity-H "
        b"/DescendantFonts [4 0 R] /ToUnicode 6 0 R >>",
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /F /DW 600 /FontDescriptor 5 0 R "
        b"/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>",
        b"<< /Type /FontDescriptor /FontName /F /Flags 4 /FontBBox [0 -200 1000 900] "
        b"/ItalicAngle 0 /Ascent 800 /Descent -200 /CapHeight 700 /StemV 80 >>",
        _stream(cmap.encode()),
    ]


def _outline(
    bookmarks: Sequence[tuple[int, str, int | None]],
    links: Sequence[tuple[int, str, int]],
    pages: Sequence[bytes],
    number: int,
) -> list[bytes]:
    """The root of the outline, which is object `number`, and its entries behind it."""
    references = [f"{number + 1 + each} 0 R" for each in range(len(bookmarks))]
    entries: list[dict[str, str]] = []
    last: list[dict[str, str]] = [{}]  # the root, then the last entry of each depth
    for place, (depth, title, page) in enumerate(bookmarks):
        last[depth].setdefault("First", references[place])
        last[depth]["Last"] = references[place]
        if len(last) > depth + 1:
            last[depth + 1]["Next"] = references[place]
        entries.append({"Title": f"<{title.encode('utf-16', 'surrogatepass').hex()}>"})
        if page is not None:
            entries[-1]["Dest"] = f"[{pages[page].decode()} /XYZ 0 800 0]"
        last[depth + 1 :] = [entries[-1]]
    for place, key, other in links:
        entries[place][key] = references[other]
    return [
        ("<< " + " ".join(f"/{key} {value}" for key, value in entry.items()) + " >>").encode()
        for entry in (last[0], *entries)
    ]


def _content(lines: Sequence[str], codes: Mapping[str, int]) -> bytes:
    shown = (
        "<" + "".join(f"{codes[character]:04X}" for character in line) + "> Tj T*" for line in lines
    )
    return "\n".join(["BT /F1 12 Tf 72 760 Td 14 TL", *shown, "ET"]).encode()


def _stream(content: bytes, filter_: bytes = b"") -> bytes:
    head = b"<< /Length %d%s >>\nstream\n" % (len(content), filter_)
    return head + content + b"\nendstream"


def _put_together(objects: Sequence[bytes], trailer: bytes) -> bytes:
    parts = [b"%PDF-1.7\n"]
    offsets = []
    start = len(parts[0])
    for number, each in enumerate(objects, start=1):
        offsets.append(start)
        parts.append(b"%d 0 obj\n" % number + each + b"\nendobj\n")
        start += len(parts[-1])
    rows = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    parts.append(b"xref\n0 %d\n0000000000 65535 f \n" % size + rows)
    parts.append(b"trailer << /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, start))
    return b"".join(parts)


def _encryption(password: str) -> bytes:
    """The standard security handler, revision 2 (PDF 1.7, 7.6.3): keys, not the streams."""
    padded = (password.encode() + _PASSWORD_PADDING)[:32]
    owner = _rc4(hashlib.md5(padded).digest()[:5], padded)
    permissions = (-4).to_bytes(4, "little", signed=True)
    key = hashlib.md5(padded + owner + permissions + bytes(16)).digest()[:5]
    user = _rc4(key, _PASSWORD_PADDING)
    return b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (
        owner.hex().encode(),
        user.hex().encode(),
    )


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    i = j = 0
    out = bytearray()
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)
