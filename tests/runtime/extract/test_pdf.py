import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedge.models.errors import BackendError, Cancelled, InputError
from embedge.runtime.chunking import chunk_text
from embedge.runtime.extract import extract, pdf
from embedge.runtime.extract.pdf_lines import join_lines
from embedge.runtime.extract.pdf_process import PdfProcess, pdf_process
from embedge.runtime.frozen import PDF_WORKER

pytest.importorskip("pypdfium2", reason="needs the extra docs")

SENTENCE = "A sentence that is long enough to reach the right margin of a page and"


def failure(data: bytes, path: str = "a.pdf") -> InputError:
    with pytest.raises(InputError, match=path) as caught:
        extract(data, path=path)
    return caught.value


def test_pages_lie_apart_and_their_places_are_known(documents):
    document = extract(documents.pdf([["First page"], [], ["Third", "page"]]), path="a.pdf")
    assert document.text == "First page\n\n\n\nThird\npage"
    assert [document.text[start : start + 5] for start in document.pages] == [
        "First", "\n\nThi", "Third"
    ]  # fmt: skip
    assert (document.kind, document.media_type) == ("text", "application/pdf")


def test_chunks_carry_their_page(documents, tokens_by_word):
    pages = [[f"page {number} " + "word " * 20] * 15 for number in (1, 2, 3)]
    document = extract(documents.pdf(pages), path="a.pdf")
    chunks = chunk_text(document.text, tokens_by_word, max_tokens=120, pages=document.pages)
    found = {chunk.page for chunk in chunks}
    assert found == {1, 2, 3}
    assert all(f"page {chunk.page}" in chunk.text for chunk in chunks)


@pytest.mark.parametrize(
    "text",
    [
        "Привет, мир", "日本語の文章です。", "हिन्दी में पाठ", "ภาษาไทย", "한국어 문장", "Ελληνικά",
        "G clef 𝄞 and 😀",
    ],
)  # fmt: skip
def test_scripts_are_read_as_they_are_printed(documents, text):
    assert extract(documents.pdf([[text]]), path="a.pdf").text == text


@pytest.mark.parametrize("text", ["שלום בעולם", "مرحبا بالعالم"])
def test_scripts_from_right_to_left_come_in_reading_order(documents, text):
    as_printed = text[::-1]
    assert extract(documents.pdf([[as_printed]]), path="a.pdf").text == text


def test_properties_become_title_author_subject_and_keywords(documents):
    info = {"Title": "Über  uns", "Author": "Ada", "Subject": "s", "Keywords": "a, b"}
    document = extract(documents.pdf([["x"]], info=info), path="a.pdf")
    assert (document.title, document.author) == ("Über uns", "Ada")
    assert (document.subject, document.keywords) == ("s", "a, b")
    assert extract(documents.pdf([["x"]]), path="a.pdf").title is None


def test_a_word_that_was_broken_at_the_margin_is_whole_again(documents):
    text = extract(documents.pdf([["an exam-", "ple of it"]]), path="a.pdf").text
    assert text == "an example of it"


def test_a_pdf_on_standard_input_is_known_by_its_first_bytes(documents):
    assert extract(documents.pdf([["piped"]]), path="-").text == "piped"


def test_pages_without_text_are_no_text(documents):
    error = failure(documents.pdf([[], []]))
    assert error.code == "no_text"
    assert "2 pages" in str(error)


def test_a_locked_pdf_says_so(documents):
    error = failure(documents.pdf([["secret"]], password="open sesame"))
    assert error.code == "format"
    assert "encrypted" in str(error)


def test_a_pdf_that_opens_without_a_password_is_read(documents):
    # Its strings are plain here, so only that it opens can be seen.
    with pytest.raises(InputError) as caught:
        extract(documents.pdf([[]], password=""), path="a.pdf")
    assert caught.value.code == "no_text"


@pytest.mark.parametrize("data", [b"%PDF-1.7\n", b"%PDF-1.4 garbage" * 20, b"no pdf at all"])
def test_what_is_no_pdf_is_a_format_error(data):
    assert failure(data).code == "format"


def test_a_truncated_pdf_is_a_format_error_or_keeps_what_is_left(documents):
    whole = documents.pdf([["some words"]] * 3)
    outcomes = set()
    for share in range(1, 10):
        try:
            extract(whole[: len(whole) * share // 10], path="a.pdf")
            outcomes.add("text")
        except InputError as error:
            outcomes.add(error.code)
    assert outcomes <= {"format", "no_text", "text"}
    assert "format" in outcomes


def test_pages_have_a_limit(documents):
    data = documents.pdf([["x"]] * 3)
    process = PdfProcess(pdf_process()._command, max_pages=2)
    try:
        with pytest.raises(InputError, match=r"3 pages, the limit is 2") as caught:
            process.read(data, "a.pdf")
        assert caught.value.code == "limit"
        assert process.read(documents.pdf([["x"]] * 2), "a.pdf").pages == ["x", "x"]
    finally:
        process.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the system keeps no limit elsewhere")
def test_a_page_that_unpacks_beyond_the_memory_limit_is_a_limit_error(documents):
    bomb = documents.pdf([["x"]], unpacked=200 << 20)
    assert len(bomb) < 1 << 20
    process = PdfProcess(pdf_process()._command, memory_limit=100 << 20)
    try:
        with pytest.raises(InputError, match="MiB") as caught:
            process.read(bomb, "a.pdf")
        assert caught.value.code == "limit"
        assert process.read(documents.pdf([["next"]]), "b.pdf").pages == ["next"]
    finally:
        process.close()


def ended_by(code: str, **limits: float) -> BaseException:
    """What a reading process that runs `code` after a request gives."""
    worker = f"import os, signal, sys, time; sys.stdin.buffer.read(16); {code}"
    process = PdfProcess([sys.executable, "-c", worker], **limits)
    try:
        with pytest.raises((InputError, Cancelled)) as caught:
            process.read(b"%PDF-", "a.pdf")
        return caught.value
    finally:
        process.close()


def test_a_process_that_hangs_is_ended():
    error = ended_by("time.sleep(60)", time_limit_s=0.2)
    assert error.code == "limit"
    assert "0.2 s" in str(error)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_a_process_that_crashes_is_a_damaged_file_and_one_that_is_stopped_cancels():
    assert ended_by("os.kill(os.getpid(), signal.SIGSEGV)").code == "format"
    assert ended_by("os.kill(os.getpid(), signal.SIGKILL)").code == "limit"
    assert ended_by("os.kill(os.getpid(), signal.SIGTERM)").code == "cancelled"
    assert ended_by("sys.exit(3)").code == "format"


def test_a_reading_can_be_stopped_from_outside_and_the_next_one_works(documents):
    worker = "import sys, time; sys.stdin.buffer.read(16); time.sleep(60)"
    process = PdfProcess([sys.executable, "-c", worker])
    timer = threading.Timer(0.2, process.stop)
    timer.start()
    try:
        with pytest.raises(Cancelled, match=r"a\.pdf"):
            process.read(b"%PDF-", "a.pdf")
        process.stop()  # nothing is read: nothing happens
        process._command = list(pdf_process()._command)
        assert process.read(documents.pdf([["next"]]), "b.pdf").pages == ["next"]
    finally:
        timer.join()
        process.close()


def test_the_next_file_gets_a_new_process_after_a_crash(documents):
    process = PdfProcess(pdf_process()._command)
    try:
        assert process.read(documents.pdf([["one"]]), "a.pdf").pages == ["one"]
        assert process._process is not None
        process._process.kill()
        process._process.wait()
        assert process.read(documents.pdf([["two"]]), "b.pdf").pages == ["two"]
    finally:
        process.close()


def test_a_program_that_does_not_exist_cannot_be_started():
    with pytest.raises(BackendError, match="no-such-program"):
        PdfProcess(["no-such-program"]).read(b"%PDF-", "a.pdf")


def test_threads_get_their_own_answers(documents):
    texts: dict[int, str] = {}

    def read(number: int) -> None:
        data = documents.pdf([[f"number {number}"]])
        texts[number] = extract(data, path=f"{number}.pdf").text

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {number: f"number {number}" for number in range(8)}


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_ctrl_c_in_the_terminal_does_not_reach_the_reading_process(documents):
    process = PdfProcess(pdf_process()._command)
    try:
        process.read(documents.pdf([["one"]]), "a.pdf")
        assert process._process is not None
        process._process.send_signal(signal.SIGINT)
        first = process._process
        assert process.read(documents.pdf([["two"]]), "a.pdf").pages == ["two"]
        assert process._process is first
    finally:
        process.close()


def test_without_the_extra_the_message_names_it(documents, monkeypatch):
    monkeypatch.setattr(pdf, "find_spec", lambda _name: None)
    error = failure(documents.pdf([["x"]]))
    assert error.code == "missing_extra"
    assert "pip install 'embedge[docs]'" in str(error)


def test_a_frozen_command_can_be_its_own_reading_process():
    start = "import sys; from embedge.cli import main; main()"
    command = [sys.executable, "-c", start, PDF_WORKER, str(1 << 31)]
    done = subprocess.run(command, input=b"", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"")


def test_full_lines_in_the_middle_of_a_sentence_are_joined():
    page = f"Heading\n{SENTENCE}\n{SENTENCE}\nends here.\nAnother paragraph."
    assert join_lines(page) == f"Heading\n{SENTENCE} {SENTENCE} ends here.\nAnother paragraph."


@pytest.mark.parametrize(
    "page",
    [
        "short\nlines\nof verse",
        f"{SENTENCE}.\nNext sentence",
        f"{SENTENCE}\n- item",
        f"{SENTENCE}\n1. item",
        f"{SENTENCE}\n17",
        f"{SENTENCE}\n\nNew paragraph",
        f"short line\n{SENTENCE}",
        "",
    ],
)
def test_other_lines_stay(page):
    assert join_lines(page) == page


@settings(deadline=None, max_examples=200)
@given(page=st.text(st.sampled_from("ab. \n-1語ก"), max_size=400))
def test_joining_lines_changes_white_space_only(page):
    assert "".join(join_lines(page).split()) == "".join(page.split())


def test_lines_without_spaces_are_joined_without_one():
    line = "日本語の文章はこのように行の端まで続いていきます"
    assert join_lines(f"{line}\n{line}") == line + line
