"""Words in many scripts: found whole, in parts, with and without accents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.runtime.index.grams import embed_grams, find_runs, pairs_of
from embedge.runtime.index.text_search import Terms

TEXTS = {
    "hindi": "किराये के अनुबंध का नवीनीकरण कैसे करें",
    "tamil": "குத்தகையை எவ்வாறு புதுப்பிப்பது",
    "thai": "วิธีต่อสัญญาเช่าบ้านในกรุงเทพ",
    "japanese": "東京で賃貸契約を更新する方法。貢献してください。",
    "chinese": "如何更新租约以及为开源做贡献",
    "korean": "서울에서 임대차 계약을 갱신하는 방법",
    "arabic": "كيفية تجديد عقد الإيجار",
    "french": "Comment renouveler le bail à Orléans",
    "decomposed": "Une re\u0301union a\u0300 l'e\u0301cole",
    "code": "def getUser(user_id): return users[user_id]",
    "half_width": "ﾄｳｷｮｳﾀﾜｰへ行く",
    "english": "The landlord renews contracts",
}


@pytest.fixture(scope="module")
def texts(embedder, tmp_path_factory):
    """One file per language."""
    from embedge import open_index

    root = tmp_path_factory.mktemp("texts")
    for name, text in TEXTS.items():
        (root / f"{name}.txt").write_text(text, encoding="utf-8")
    with open_index(tmp_path_factory.mktemp("index") / "i.db", embedder=embedder) as index:
        index.add(root)
        yield index


CASES = [
    ("hindi", "अनुबंध"), ("hindi", "नवीनीकरण"), ("tamil", "குத்தகையை"), ("thai", "สัญญา"),
    ("thai", "กรุงเทพ"), ("japanese", "東京"), ("japanese", "貢献"), ("japanese", "契約を更新"),
    ("japanese", "賃"), ("chinese", "租约"), ("chinese", "贡献"), ("chinese", "开"),
    ("korean", "계약"), ("korean", "임대차"), ("korean", "갱신"), ("arabic", "الإيجار"),
    ("french", "Orleans"), ("french", "ORLÉANS"), ("french", "Orle\u0301ans"),
    ("decomposed", "réunion"), ("decomposed", "reunion"), ("decomposed", "école"),
    ("code", "getUser"), ("code", "getuser"), ("code", "user_id"), ("half_width", "タワー"),
    ("half_width", "トウキョウ"), ("english", "landlord"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "query"), CASES)
def test_word_of_each_script_is_found(texts, name, query):
    hits = texts.search(query, mode="text", limit=3)
    assert hits, query
    assert hits[0].path.endswith(f"{name}.txt")


@pytest.mark.parametrize("query", ["नवी", "மகிழ்ச்சி", "大阪", "阪", "부산", "zzz"])
def test_what_stands_nowhere_is_not_found(texts, query):
    assert texts.search(query, mode="text") == []


def test_question_in_japanese_finds_the_passage_with_most_of_its_pairs(texts):
    hits = texts.search("賃貸の契約はどう更新しますか", mode="text", limit=1)
    assert hits[0].path.endswith("japanese.txt")


def test_phrase_comes_before_all_words_before_any_word(index, tmp_path):
    root = tmp_path / "order"
    root.mkdir()
    filler = " ".join(f"filler{n}" for n in range(30))
    (root / "any.txt").write_text("green lamp green lamp green lamp")
    (root / "all.txt").write_text(f"house {filler} green")
    (root / "phrase.txt").write_text(f"{filler} the green house {filler}")
    for number in range(9):
        (root / f"other{number}.txt").write_text(f"other words {number}")
    index.add(root)
    hits = index.search("green house", mode="text")
    assert [hit.path.rpartition("/")[2] for hit in hits] == ["phrase.txt", "all.txt", "any.txt"]


def test_words_of_more_than_a_fifth_of_all_passages_are_left_out(index, tmp_path):
    root = tmp_path / "common"
    root.mkdir()
    for number in range(120):
        (root / f"{number}.txt").write_text(f"the topic number{number}")
    index.add(root)
    hits = index.search("the number7 number9", mode="text")
    assert {hit.path.rpartition("/")[2] for hit in hits} == {"7.txt", "9.txt"}
    assert len(index.search("the", mode="text", limit=120)) == 120


def test_heading_counts_double(index, tmp_path):
    root = tmp_path / "heads"
    root.mkdir()
    (root / "body.md").write_text("# Other\n\nA paragraph on walruses here.\n")
    (root / "head.md").write_text("# Walruses\n\nA paragraph on something else here.\n")
    index.add(root)
    hits = index.search("walruses", mode="text")
    assert [hit.path.rpartition("/")[2] for hit in hits] == ["head.md", "body.md"]


def test_pairs_of_a_run_and_its_last_character():
    assert embed_grams("東京タワー and 駅") == "東京 京タ タワ ワー ー 駅"
    assert embed_grams("no such script") == ""


def test_half_width_kana_become_full_width_with_their_marks():
    assert find_runs("ﾊﾞｽ ﾊﾟﾝ") == ["バス", "パン"]


@given(st.text())
def test_pairs_lead_back_to_the_run(text):
    for run in find_runs(text):
        pairs = pairs_of(run)
        assert "".join(pair[0] for pair in pairs) + run[-1] == run


def test_pairs_never_change():
    """A contentless table forgets a row only when the same value is given again."""
    import hashlib

    everything = "".join(map(chr, range(0x20, 0xD800))) + "".join(map(chr, range(0xE000, 0x32400)))
    digest = hashlib.sha256(embed_grams(everything).encode()).hexdigest()
    assert digest == "fba97a93b3ccf28ca451b60de0996f14135a5f965fcb4a567125635273fc9e62"


def test_terms_are_words_and_runs():
    terms = Terms.of('Renew "the" lease!! 東京 の — renew')
    assert terms.words == ("Renew", '"the"', "lease!!")
    assert terms.runs == ("東京", "の")


def test_what_is_common_is_asked_of_the_collections_that_are_searched(index, tmp_path):
    """In an index of several languages the small words of one are rare as a whole."""
    for name, text in (("one", "der Garten"), ("two", "the garden")):
        root = tmp_path / name
        root.mkdir()
        for number in range(60 if name == "one" else 400):
            (root / f"{number}.txt").write_text(f"{text} number{number}")
        index.add(root, confirm=True)
    hits = index.search("der number7", mode="text", collections=["one"], limit=60)
    assert [hit.path.rpartition("/")[2] for hit in hits] == ["7.txt"]
