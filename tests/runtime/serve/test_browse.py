"""The search page's application, asked as a server asks it."""

import asyncio
import json
import re
import threading
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from importlib.resources import files
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette", reason="needs the extra server")

from embedge.models.errors import ModelNotFound
from embedge.runtime.index.connection import connect_writer
from embedge.runtime.index.results import CollectionStatus, Hit, IndexStatus, Place, RootStatus
from embedge.runtime.serve.browse import browse_app

HIT = Hit(
    rank=1, score=0.03, cosine=0.71, collection="docs", path="/none/lease <b>.md", chunk=3,
    char_start=0, char_end=20, line_start=3, line_end=5, page=None, heading="A > B",
    text="Renew the lease soon", snippet="", available=True, space="s-1",
    also_in=(Place("docs", "/none/copy.md", 0),),
)  # fmt: skip


@dataclass
class FakeIndex:
    hits: list[Hit] = field(default_factory=lambda: [HIT])
    asked: list[dict[str, object]] = field(default_factory=list)
    failure: Exception | None = None

    def search(self, query, **options) -> list[Hit]:
        self.asked.append({"query": query, "thread": threading.current_thread(), **options})
        if self.failure is not None:
            raise self.failure
        return self.hits

    def status(self) -> IndexStatus:
        root = RootStatus(path="/usb", state="offline", files=2, last_seen_ms=None)
        collection = CollectionStatus(
            name="docs", model="m", revision="r", variant="int8", dim=32, space="s-1", chunker="c",
            roots=(root,), files={"read": 3, "error": 1, "skipped": 2}, reasons={}, chunks=9,
            pending=4, last_update_ms=None, model_available=False, model_problem="no model here",
        )  # fmt: skip
        return IndexStatus(
            path="/index.db", size_bytes=1000, schema=1, journal="wal", vectors=5, orphans=0,
            collections=(collection,), last_run=None,
        )  # fmt: skip


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def ask(app, address: str, *, method: str = "GET", **headers: str) -> Answer:
    """Send one request, in an event loop of its own."""
    parts = urlsplit(address)
    named = {"host": "localhost:8017"} | {key.replace("_", "-"): v for key, v in headers.items()}
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "path": parts.path,
        "raw_path": parts.path.encode(), "query_string": parts.query.encode(), "scheme": "http",
        "server": ("127.0.0.1", 8017), "root_path": "", "extensions": {},
        "headers": [(key.encode(), value.encode()) for key, value in named.items()],
    }  # fmt: skip
    requests = [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        if not requests:
            await asyncio.Event().wait()  # the client stays
        return requests.pop()

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    found = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, b"".join(each.get("body", b"") for each in sent[1:]))


@pytest.fixture
def index() -> FakeIndex:
    return FakeIndex()


@pytest.fixture
def database(tmp_path):
    """An index that knows some files of a folder, and of one that is away."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("a.md", "b.pdf", "c.docx", "page.html", "unknown.md", "gone.md"):
        (folder / name).write_bytes(b"content of " + name.encode())
    path = tmp_path / "index.db"
    connection = connect_writer(path)
    connection.executescript(f"""
        INSERT INTO spaces VALUES(1, 's-1', '{{}}', 'm', 'r', 'int8', 32, 32, 0, 0);
        INSERT INTO chunkers VALUES(1, 'c', '{{}}');
        INSERT INTO collections(id, name, space_id, chunker_id) VALUES(1, 'docs', 1, 1);
        INSERT INTO roots(id, path, state) VALUES(1, '{folder}', 'online');
        INSERT INTO files(id, root_id, rel_path, state) VALUES
          (1, 1, 'a.md', 'read'), (2, 1, 'b.pdf', 'read'), (3, 1, 'c.docx', 'read'),
          (4, 1, 'page.html', 'read'), (5, 1, 'gone.md', 'missing'),
          (6, 1, '../outside.md', 'read'), (7, 1, 'unknown.md', 'read');
        INSERT INTO collection_files SELECT 1, id FROM files WHERE id < 7;
    """)
    connection.close()
    (tmp_path / "outside.md").write_text("outside")
    return SimpleNamespace(path=path, folder=folder)


@pytest.fixture
def app(index, database):
    return browse_app(index, index.status, database.path)


def test_hits_come_with_marks_and_a_link_to_their_file(app, index):
    answer = ask(app, "/api/search?q=lease&mode=text&collection=docs&collection=notes&limit=5")
    assert answer.status == 200
    (hit,) = answer.json["hits"]
    assert (hit["name"], hit["folder"]) == ("lease <b>.md", "/none")
    assert [hit["text"][start:end] for start, end in hit["marks"]] == ["lease"]
    assert hit["file"] == "file?path=%2Fnone%2Flease%20%3Cb%3E.md"
    assert hit["also_in"] == [{"path": "/none/copy.md", "chunk": 0}]
    asked = index.asked[0]
    assert (asked["query"], asked["mode"], asked["limit"]) == ("lease", "text", 5)
    assert asked["collections"] == ["docs", "notes"]
    assert asked["thread"] is not threading.main_thread()


def test_a_file_that_is_away_has_no_link(app, index):
    index.hits = [replace(HIT, available=False)]
    (hit,) = ask(app, "/api/search?q=x").json["hits"]
    assert (hit["file"], hit["available"]) == (None, False)


@pytest.mark.parametrize(
    "asked", ["q=", "q=%20", f"q={'x' * 2001}", "q=x&mode=magic", "q=x&limit=0", "q=x&limit=x"]
)
def test_a_bad_question_is_refused_in_words(app, asked):
    answer = ask(app, f"/api/search?{asked}")
    assert (answer.status, answer.json["error"]["code"]) == (400, "invalid_option")


def test_a_failing_search_says_why(app, index):
    index.failure = ModelNotFound("the model is gone")
    answer = ask(app, "/api/search?q=x")
    expected = {"code": "model_not_found", "message": "the model is gone"}
    assert (answer.status, answer.json["error"]) == (404, expected)


def test_the_status_counts_and_names_what_is_wrong(app):
    status = ask(app, "/api/status").json
    (collection,) = status["collections"]
    assert (collection["files"], collection["not_read"], collection["pending"]) == (3, 3, 4)
    assert any("/usb" in note for note in status["notes"])
    assert any("no model here" in note for note in status["notes"])


def test_files_of_the_index_are_shown_and_cannot_run_anything(app, database):
    text = ask(app, f"/file?path={database.folder}/page.html")
    assert (text.status, text.body) == (200, b"content of page.html")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in text.headers["content-security-policy"]
    pdf = ask(app, f"/file?path={database.folder}/b.pdf")
    assert pdf.headers["content-type"] == "application/pdf"
    docx = ask(app, f"/file?path={database.folder}/c.docx")
    assert docx.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    "path",
    ["{0}/unknown.md", "{0}/gone.md", "{0}/../index.db", "{0}", "{0}/", "/etc/passwd", "", "a.md",
     "{0}/a.md/", "{0}//a.md", "{0}/./a.md"],
)  # fmt: skip
def test_no_other_file_is_shown(app, database, path):
    answer = ask(app, f"/file?path={path.format(database.folder)}")
    assert (answer.status, answer.json["error"]["code"]) == (404, "not_found")


def test_a_row_that_leads_out_of_its_folder_is_not_followed(app, database):
    answer = ask(app, f"/file?path={database.folder}/../outside.md")
    assert answer.status == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8017", "localhost.evil:1", "", ":80"]
)
def test_another_name_for_this_machine_is_refused(app, index, host):
    answer = ask(app, "/api/search?q=x", host=host)
    assert (answer.status, index.asked) == (403, [])


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8017", "[::1]:8017", "LOCALHOST:1"])
def test_our_own_names_are_answered(app, host):
    assert ask(app, "/", host=host).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:9999"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"},
        {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"},
    ],
)
@pytest.mark.parametrize("address", ["/api/search?q=x", "/api/status", "/file?path=x"])
def test_pages_of_other_sites_may_not_ask(app, headers, address):
    assert ask(app, address, **headers).status == 403


def test_a_link_of_another_site_may_lead_to_the_empty_page(app):
    headers = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert ask(app, "/", **headers).status == 200
    assert ask(app, "/api/status", origin="http://localhost:8017").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(app, method):
    for address in ("/", "/api/search?q=x", "/api/status", "/file?path=x", "/page.js"):
        assert ask(app, address, method=method).status == 405


def test_every_answer_keeps_private_what_it_says(app):
    for address in ("/", "/page.js", "/api/status", "/none", "/api/search?q="):
        headers = ask(app, address).headers
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_the_key_is_asked_for_once_and_then_kept_in_a_cookie(index, database):
    app = browse_app(index, index.status, database.path, key="secret")
    for address in ("/", "/page.js", "/api/search?q=x", "/file?path=x", "/?key=wrong", "/?key="):
        assert ask(app, address).status == 403
    answer = ask(app, "/?key=secret&q=a%20b")
    assert (answer.status, answer.headers["location"]) == (303, "./?q=a+b")
    cookie, *rules = answer.headers["set-cookie"].split("; ")
    assert {rule.lower() for rule in rules} >= {"httponly", "samesite=strict"}
    assert ask(app, "/", cookie=cookie).status == 200
    assert ask(app, "/", cookie=f"{cookie}x").status == 403
    assert ask(app, "/?key=secret", host="evil.example").status == 403


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def page(app) -> Page:
    page = Page()
    page.feed(ask(app, "/").body.decode())
    return page


def test_the_page_is_whole_without_a_network(app, page):
    links = [tag.get("src") or tag.get("href") for name, tag in page.tags if name != "a"]
    own = [link for link in links if link]
    assert set(own) == {"page.js", "page.css", "icon.svg"}
    for link in own:
        assert ask(app, f"/{link}").status == 200
    folder = files("embedge.runtime.serve") / "page"
    for name in ("index.html", "page.js", "page.css"):
        text = (folder / name).read_text("utf-8")
        assert "//" not in re.sub(r"(?m)^\s*//.*$|http://www\.w3\.org/\S+", "", text), name


def test_the_page_runs_no_script_and_no_style_of_its_own_text(page):
    assert all(tag.get("src") for tag in page.all("script"))
    assert page.all("style") == []
    inline = [key for _, tag in page.tags for key in tag if key.startswith("on") or key == "style"]
    assert inline == []


def test_the_page_is_named_and_labelled_for_a_screen_reader(page):
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    ids = {tag["id"] for _, tag in page.tags if "id" in tag}
    labels = {tag.get("for") for tag in page.all("label")}
    named = [tag for tag in page.all("input") if tag.get("type") != "radio"]
    assert all(tag["id"] in labels for tag in named)
    assert {tag["role"] for _, tag in page.tags if "role" in tag} >= {"search", "status", "alert"}
    told = [tag[key] for _, tag in page.tags for key in ("aria-labelledby", "aria-describedby")
            if key in tag]  # fmt: skip
    assert set(told) <= ids
    assert len(page.all("fieldset")) == len(page.all("legend")) == 2


def test_the_script_never_makes_markup_of_text():
    script = (files("embedge.runtime.serve") / "page" / "page.js").read_text("utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", script)


def luminance(color: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back"),
    [("front", "back"), ("front", "card"), ("quiet", "back"), ("quiet", "card"), ("link", "back"),
     ("link", "card"), ("mark-text", "mark"), ("warn", "back"), ("warn", "card"),
     ("button-text", "button")],
)  # fmt: skip
def test_text_stands_out_from_what_is_behind_it(scheme, front, back):
    """At least 4.5 to 1, as WCAG 2.2 AA asks of text."""
    style = (files("embedge.runtime.serve") / "page" / "page.css").read_text("utf-8")
    blocks = re.findall(r":root\s*\{([^}]*)\}", style)
    colors = dict(re.findall(r"--([\w-]+):\s*(#\w{6})", blocks[scheme]))
    light, dark = sorted((luminance(colors[front]), luminance(colors[back])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
