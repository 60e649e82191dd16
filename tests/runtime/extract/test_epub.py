import pytest

from embedge.models.errors import InputError
from embedge.runtime.extract import extract

CHAPTER = "<html xmlns='http://www.w3.org/1999/xhtml'><head><title>t</title></head><body>{}</body>"


def text_of(data: bytes, path: str = "a.epub") -> str:
    return extract(data, path=path).text


def failure(data: bytes) -> InputError:
    with pytest.raises(InputError, match=r"a\.epub") as caught:
        extract(data, path="a.epub")
    return caught.value


def test_chapters_come_in_reading_order_with_their_headings(documents):
    chapters = {
        "z.xhtml": CHAPTER.format("<h1>One</h1><p>first &nbsp; &eacute;</p><script>x</script>"),
        "text/a%20b.xhtml": CHAPTER.format("<h2>Two</h2><p>second</p>"),
    }
    members = {"OEBPS/text/a b.xhtml": chapters["text/a%20b.xhtml"]}
    document = extract(documents.epub(chapters, members=members), path="a.epub")
    assert document.text == "# One\n\nfirst \xa0 é\n\n## Two\n\nsecond"
    assert (document.kind, document.media_type) == ("markdown", "application/epub+zip")


NCX = (
    "<ncx><navMap><navPoint><navLabel><text>The  river</text></navLabel>"
    "<content src='a.xhtml#top'/></navPoint></navMap></ncx>"
)
NAV = (
    "<html><body><nav><ol><li><a href='a.xhtml'>The <i>river</i></a></li></ol></nav></body></html>"
)


@pytest.mark.parametrize(
    ("name", "kind", "contents"),
    [
        ("toc.ncx", 'media-type="application/x-dtbncx+xml"', NCX),
        ("nav.xhtml", 'media-type="application/xhtml+xml" properties="nav"', NAV),
    ],
)
def test_a_chapter_without_heading_gets_its_name_from_the_contents(documents, name, kind, contents):
    chapters = {
        "a.xhtml": CHAPTER.format("<p>It flows.</p>"),
        "b.xhtml": CHAPTER.format("<h2>Own</h2><p>Boats.</p>"),
    }
    book = documents.epub(
        chapters,
        items=f'<item id="toc" href="{name}" {kind}/>',
        members={f"OEBPS/{name}": contents},
    )
    assert text_of(book) == "# The river\n\nIt flows.\n\n## Own\n\nBoats."


def test_metadata_becomes_title_author_and_subject(documents):
    metadata = (
        "<dc:title>A\n Book</dc:title><dc:creator>Ada</dc:creator><dc:creator>Bob</dc:creator>"
        "<dc:subject>maths</dc:subject>"
    )
    data = documents.epub({"a.xhtml": CHAPTER.format("<p>x</p>")}, metadata=metadata)
    document = extract(data, path="a.epub")
    assert (document.title, document.author, document.subject) == ("A Book", "Ada, Bob", "maths")


@pytest.mark.parametrize("text", ["שלום עולם", "مرحبا", "日本語", "हिन्दी", "ภาษาไทย", "😀 Ж"])
def test_scripts_are_kept(documents, text):
    assert text_of(documents.epub({"a.xhtml": CHAPTER.format(f"<p>{text}</p>")})) == text


def test_a_chapter_may_have_its_own_encoding(documents):
    chapter = '<?xml version="1.0" encoding="windows-1251"?>' + CHAPTER.format("<p>Привет</p>")
    assert text_of(documents.epub({"a.xhtml": chapter.encode("cp1251")})) == "Привет"


def test_a_book_is_known_by_its_first_bytes(documents):
    book = documents.epub({"a.xhtml": CHAPTER.format("<p>x</p>")})
    assert text_of(book, "-") == "x"


def test_a_book_of_pictures_is_no_text(documents):
    assert failure(documents.epub({"a.xhtml": CHAPTER.format("<img/>")})).code == "no_text"


@pytest.mark.parametrize(
    "members",
    [
        {"META-INF/container.xml": "<container/>"},
        {"META-INF/container.xml": "broken <"},
        {"OEBPS/book.opf": "<package/>"},
        {"OEBPS/book.opf": "<package>"},
    ],
)
def test_a_book_without_its_lists_is_a_format_error(documents, members):
    assert failure(documents.epub({"a.xhtml": "<p>x</p>"}, members=members)).code == "format"


def test_a_missing_chapter_is_a_format_error(documents):
    data = documents.epub({"a.xhtml": "<p>x</p>"})
    package = documents.epub({"a.xhtml": "", "b.xhtml": ""})
    start = package.index(b"PK")
    assert start == 0
    assert failure(data[: len(data) // 2]).code == "format"
    lost = documents.epub({"../../outside.xhtml": "<p>x</p>"})
    assert failure(lost).code == "format"


def test_a_copy_protected_book_says_so_and_scrambled_fonts_do_not_matter(documents):
    def protected(algorithm: str, member: str) -> bytes:
        encryption = (
            "<encryption xmlns='urn:oasis:names:tc:opendocument:xmlns:container'><EncryptedData>"
            f"<EncryptionMethod Algorithm='{algorithm}'/><CipherData><CipherReference "
            f"URI='{member}'/></CipherData></EncryptedData></encryption>"
        )
        chapters = {"a.xhtml": CHAPTER.format("<p>x</p>")}
        return documents.epub(chapters, members={"META-INF/encryption.xml": encryption})

    error = failure(protected("http://www.w3.org/2001/04/xmlenc#aes128-cbc", "OEBPS/a.xhtml"))
    assert (error.code, "copy-protected" in str(error)) == ("format", True)
    assert text_of(protected("http://www.idpf.org/2008/embedding", "OEBPS/a.xhtml")) == "x"
    assert text_of(protected("http://www.w3.org/2001/04/xmlenc#aes128-cbc", "OEBPS/f.otf")) == "x"


def test_a_zip_bomb_is_a_limit_error(documents):
    bomb = documents.epub({"a.xhtml": CHAPTER.format("<p>" + "a" * (30 << 20))})
    assert failure(bomb).code == "limit"


def test_an_xml_bomb_is_a_limit_error(documents):
    bomb = '<!DOCTYPE p [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]>'
    chapter = bomb + CHAPTER.format("<p>&b;</p>")
    assert failure(documents.epub({"a.xhtml": chapter})).code == "limit"
    members = {"OEBPS/book.opf": f"{bomb}<package>&b;</package>"}
    assert failure(documents.epub({"a.xhtml": "<p>x</p>"}, members=members)).code == "limit"
    deep = {"OEBPS/book.opf": "<a>" * 300 + "</a>" * 300}
    assert failure(documents.epub({"a.xhtml": "<p>x</p>"}, members=deep)).code == "limit"
