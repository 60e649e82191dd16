"""`embed index browse`: who may start it where, and the address that it prints."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

pytest.importorskip("uvicorn", reason="needs the extra server")

COMMAND = [sys.executable, "-c", "from embedge.cli import main; main()"]


@pytest.fixture
def database(embed, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "lease.md").write_text("How to renew the lease.\n")
    assert embed("index", "add", "docs", "--db", "i.db").code == 0
    return "i.db"


def test_without_an_index_it_says_how_to_make_one(embed):
    done = embed("index", "browse", "--db", "none.db")
    assert (done.code, "embed index add" in done.error) == (2, True)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", ""])
def test_other_machines_are_no_place_for_it(embed, database, host):
    done = embed("index", "browse", "--db", database, "--host", host)
    assert (done.code, "127.0.0.1" in done.error) == (2, True)


def test_a_port_that_is_taken_is_an_error(embed, database):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = embed("index", "browse", "--db", database, "--port", port)
    assert (done.code, str(port) in done.error) == (1, True)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a process of its own")
def test_the_printed_address_opens_the_page_and_ctrl_c_ends_it(
    embed, environment, database, tmp_path
):
    process = subprocess.Popen(
        [*COMMAND, "index", "browse", "--db", database, "--port", "0", "-q"],
        env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        address = urlsplit(process.stdout.readline().strip())
        assert address.hostname == "127.0.0.1"
        connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=60)
        connection.request("GET", f"/?{address.query}")
        first = connection.getresponse()
        first.read()
        assert first.status == 303
        cookie = {"Cookie": first.headers["Set-Cookie"].partition(";")[0]}
        connection.request("GET", "/api/search?q=renew&mode=text", headers=cookie)
        (hit,) = json.load(connection.getresponse())["hits"]
        connection.request("GET", f"/{hit['file']}", headers=cookie)
        assert connection.getresponse().read() == b"How to renew the lease.\n"
        connection.request("GET", "/api/status")
        assert connection.getresponse().status == 403
        connection.close()
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
        process.stdout.close()
    assert code == 130
