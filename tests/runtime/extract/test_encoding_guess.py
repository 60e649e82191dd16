import pytest

from embedge.runtime.extract import encoding_guess, extract
from embedge.runtime.extract.encoding_guess import guess_encoding

pytest.importorskip("charset_normalizer", reason="needs the extra docs")

SENTENCES = {
    "cp1252": "Señor, ¿dónde está la estación? Mañana iré al café con mi cuñada. " * 3,
    "cp1250": "Zażółć gęślą jaźń, święto, ćma i śnieg. " * 3,
    "cp1254": "Şişli'de çok güzel bir gün, ağaçların altında dinleniyoruz, ışıklar yanıyor. " * 3,  # noqa: RUF001
    "cp1251": "Съешь ещё этих мягких французских булок, да выпей чаю. " * 3,
    "koi8_r": "Съешь ещё этих мягких французских булок, да выпей чаю. " * 3,
    "cp866": "Съешь ещё этих мягких французских булок, да выпей чаю. " * 3,
    "cp1253": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία, και όλα τα άλλα. " * 3,
    "cp1256": "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر. " * 3,
    "cp874": "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน " * 3,
    "cp932": "いろはにほへと ちりぬるを わかよたれそ つねならむ、漢字もあります。" * 3,
    "euc_jp": "いろはにほへと ちりぬるを わかよたれそ つねならむ、漢字もあります。" * 3,
    "cp949": "다람쥐 헌 쳇바퀴에 타고파. 키스의 고유조건은 입술끼리 만나야 하고. " * 3,
    "gb18030": "我能吞下玻璃而不伤身体。这是一个很长的句子，用来测试编码。" * 3,  # noqa: RUF001
    "big5": "我能吞下玻璃而不傷身體。這是一個很長的句子，用來測試編碼。" * 3,  # noqa: RUF001
}


@pytest.mark.parametrize("encoding", SENTENCES)
def test_a_text_in_a_common_encoding_is_read_as_it_was_written(encoding):
    text = SENTENCES[encoding]
    document = extract(text.encode(encoding), path="a.txt")
    assert document.text == text


def test_what_all_code_pages_read_alike_is_clear():
    assert extract(b"caf\xe9", path="a.txt").text == "café"


@pytest.mark.parametrize("data", [b"ni\xf1o", b"\xe0 la", b"d\xe8s", bytes(range(128, 256))])
def test_what_is_not_clear_is_not_guessed(data):
    assert guess_encoding(data) is None


def test_a_text_whose_accents_belong_to_no_language_is_not_guessed():
    assert guess_encoding("¶÷ ‰þ¬ ¤¦ ãÿ¥ þæð".encode("cp1252") * 5) is None


def test_without_the_extra_nothing_is_guessed(monkeypatch):
    monkeypatch.setattr(encoding_guess, "find_spec", lambda _name: None)
    assert guess_encoding(SENTENCES["cp1251"].encode("cp1251")) is None


def test_a_long_text_is_judged_by_whole_lines():
    line = SENTENCES["cp932"] + "\n"
    text = line * (2 * encoding_guess.SAMPLE_BYTES // len(line.encode("cp932")))
    assert guess_encoding(text.encode("cp932")) == "cp932"
    assert guess_encoding(text.replace("\n", "").encode("cp932")) in ("cp932", None)
