import csv
import json

import pytest

from embedge.models.errors import InputError
from embedge.runtime.chunking import chunk_text
from embedge.runtime.extract import encoding_guess, extract
from embedge.runtime.extract.registry import FORMATS, Source, find_format


def text_of(content: str, path: str) -> str:
    return extract(content.encode(), path=path).text


def code_of(content: str, path: str) -> str:
    with pytest.raises(InputError, match=path) as caught:
        extract(content.encode(), path=path)
    return caught.value.code


@pytest.mark.parametrize(
    ("path", "kind", "title"),
    [
        ("a.md", "markdown", "Title"),
        ("A.MD", "markdown", "Title"),
        ("a.rst", "rst", None),
        ("a.py", "code", None),
        ("a.rs", "code", None),
        ("a.txt", "text", None),
        ("a.yaml", "text", None),
        ("README", "text", None),
        (".bashrc", "text", None),
    ],
)
def test_text_is_kept_as_it_is_and_the_suffix_says_how_to_cut_it(path, kind, title):
    content = "## Small\r\n\r\n# Title\r\ntext\ttab  \n"
    document = extract(content.encode(), path=path)
    assert (document.text, document.kind, document.title) == (content, kind, title)
    assert document.extractor == "text/1"


@pytest.mark.parametrize("content", ["", " \n\t\r\n", "\ufeff", "\ufeff \n"])
def test_nothing_to_embed_is_empty(content):
    assert code_of(content, "a.txt") == "empty"


def test_csv_records_become_paragraphs_with_their_keys():
    content = 'name,age,note\nAda,36,"a, b"\nBob,,"two\nlines"\n\nCid,1,x,extra\n'
    assert text_of(content, "a.csv") == (
        "name: Ada\nage: 36\nnote: a, b\n\nname: Bob\nnote: two\nlines\n\n"
        "name: Cid\nage: 1\nnote: x\ncolumn 4: extra"
    )


@pytest.mark.parametrize(
    ("content", "path"),
    [("a;b\n1;x,y\n", "a.csv"), ("a\tb\n1\tx,y\n", "a.tsv"), ("a|b\n1|x,y\n", "a.csv")],
)
def test_csv_delimiters_are_found(content, path):
    assert text_of(content, path) == "a: 1\nb: x,y"


def test_a_csv_field_may_hold_a_whole_article_and_the_module_limit_comes_back():
    article = "word " * 60_000
    before = csv.field_size_limit()
    assert len(text_of(f'title,body\nx,"{article}"\n', "a.csv")) > 299_000
    assert csv.field_size_limit() == before


def test_a_table_of_one_row_is_its_values():
    assert text_of("only,these\n", "a.csv") == "only\nthese"
    assert code_of(",,\n,,\n", "a.csv") == "empty"


def test_json_elements_become_paragraphs_with_their_keys():
    rows = [
        {"id": 1, "name": {"first": "Ada"}, "tags": ["x", "y"]},
        {"id": 1.10, "ok": True},
        "bare",
    ]
    assert text_of(json.dumps(rows), "a.json") == (
        "id: 1\nname.first: Ada\ntags: x\ntags: y\n\nid: 1.1\nok: true\n\nbare"
    )


def test_json_keys_of_an_object_become_paragraphs():
    content = '{"a": "x", "a": "repeated", "n": 1.10, "big": 1' + "0" * 5000 + ', "none": null}'
    paragraphs = text_of(content, "a.json").split("\n\n")
    assert paragraphs[:3] == ["a: x", "a: repeated", "n: 1.10"]
    assert len(paragraphs) == 4


def test_jsonl_lines_become_paragraphs():
    assert text_of('{"a": "x"}\n\n  \n{"b": [1, 2]}\r\n', "a.jsonl") == "a: x\n\nb: 1\nb: 2"


def test_lone_surrogates_of_json_become_replacement_characters():
    assert text_of(r'{"a": "x\ud83dy \ud83d\ude00"}', "a.json") == "a: x\ufffdy 😀"
    assert text_of(r'"\udc00"', "a.jsonl") == "\ufffd"


@pytest.mark.parametrize(
    ("content", "path"),
    [('{"a": 1,}', "a.json"), ('{"a": 1}\n{"b"\n', "a.jsonl"), ("[1] 2", "a.json")],
)
def test_broken_json_is_a_format_error_with_its_place(content, path):
    with pytest.raises(InputError, match=rf"{path}, line \d") as caught:
        extract(content.encode(), path=path)
    assert caught.value.code == "format"


@pytest.mark.parametrize("path", ["a.json", "a.jsonl"])
def test_json_that_nests_too_deep_is_a_limit_error(path):
    assert code_of("[" * 200_000, path) == "limit"


@pytest.mark.parametrize("content", ["{}", "[]", "null", '[null, "", {"a": []}]'])
def test_json_without_values_is_empty(content):
    assert code_of(content, "a.json") == "empty"


PAGE = """<!doctype html><html><head><title>T &amp; x</title><style>p{}</style></head>
<body><h1>Big <b>one</b></h1><p>First
 line<br>second</p><script>no()</script><ul><li>a</li><li>b <i>c</i></li></ul>
<table><tr><th>k</th><th>v</th></tr><tr><td>1</td><td>2</td></tr></table>
<pre>x
  y</pre><h2>Sub</h2>tail &#xD800; &lt;b&gt; 5 < 6</body></html>"""


def test_html_is_what_a_reader_sees():
    document = extract(PAGE.encode(), path="a.html")
    assert document.text == (
        "# Big one\n\nFirst line\nsecond\n\n- a\n- b c\n\nk | v\n1 | 2\n\n```\nx\n  y\n```\n\n"
        "## Sub\n\ntail \ufffd <b> 5 < 6"
    )
    assert (document.title, document.kind) == ("T & x", "markdown")


def test_html_headings_reach_the_chunks(tokens_by_word):
    body = "<p>" + "word " * 300 + "</p>"
    page = f"<h1>A</h1>{body}<h2>B</h2>{body}"
    document = extract(page.encode(), path="a.htm")
    chunks = chunk_text(document.text, tokens_by_word, max_tokens=200, kind=document.kind)
    assert {chunk.heading for chunk in chunks} == {"A", "A > B"}


def test_a_fence_inside_preformatted_text_does_not_end_it():
    assert text_of("<pre>a\n```\n# b</pre>", "a.html") == "````\na\n```\n# b\n````"


@pytest.mark.parametrize(
    "content", ["<p></p>", "<script>x</script>", "<!-- only -->", "<title>t</title>"]
)
def test_html_without_text_says_so(content):
    assert code_of(content, "a.html") == "no_text"


def test_html_may_declare_its_encoding(monkeypatch):
    monkeypatch.setattr(encoding_guess, "find_spec", lambda _name: None)  # no extra docs
    page = '<meta charset="windows-1252"><p>Café “x”</p>'
    document = extract(page.encode("cp1252"), path="a.html")
    assert (document.text, document.encoding) == ("Café “x”", "windows-1252")
    undeclared = "<p>Café</p>".encode("cp1252")
    with pytest.raises(InputError, match="--encoding"):
        extract(undeclared, path="a.html")


@pytest.mark.parametrize(
    "opening",
    ["<!--", "<![CDATA[", "<a ", "</", "<!", "<?", "<a b=", '<a href="', "<", "&", "<pre>"],
)
def test_markup_that_never_ends_takes_no_quadratic_time(opening):
    """With `HTMLParser.close` these took minutes; without it all of them take a second."""
    page = "<p>hello</p>" + opening * 100_000
    assert text_of(page, "a.html").startswith("hello")


def test_every_format_loads_and_no_two_claim_a_suffix():
    assert all(callable(each.load()) for each in FORMATS)
    suffixes = [suffix for each in FORMATS for suffix in each.suffixes]
    assert len(suffixes) == len(set(suffixes))


def test_the_suffix_decides_the_format_and_unknown_ones_are_plain_text():
    assert find_format(Source(b"x", "a.HTML", ".html", None)).name == "html"
    assert find_format(Source(b"x", "a.unknown", ".unknown", None)).name == "text"
