"""BERTopic with our encoder: topics of this project's own pages.

Not in the extra [integration], since BERTopic brings numba and more; by hand:
`pip install bertopic pytest && pytest tests/integration/test_bertopic.py`.
"""

import re
from pathlib import Path

import pytest

bertopic = pytest.importorskip("bertopic", reason="needs `pip install bertopic`, by hand")

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("files", "models", "memory", "quality", "quantize", "performance")

pytestmark = pytest.mark.filterwarnings("default")  # those of BERTopic's own dependencies


@pytest.fixture(scope="module")
def embedding_model():
    """The class that docs/integrations.md prints."""
    page = (DOCS / "integrations.md").read_text("utf-8")
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", page, re.S) if "bertopic" in b]
    names = {}
    exec(compile(block, "docs/integrations.md", "exec"), names)
    return names["Embedge"]()


def test_it_fits_places_a_new_text_and_finds_topics_by_words(embedding_model):
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    texts = [
        paragraph.strip()
        for page in PAGES
        for paragraph in (DOCS / f"{page}.md").read_text("utf-8").split("\n\n")
        if len(paragraph) > 80
    ][:160]
    model = bertopic.BERTopic(
        embedding_model=embedding_model,
        umap_model=PCA(5),
        hdbscan_model=KMeans(6, n_init=2, random_state=0),
    )
    topics, _ = model.fit_transform(texts)
    assert len(topics) == len(texts)
    assert len(set(topics)) == 6
    (placed,), _ = model.transform(["The weights are quantized to 8 bits."])
    assert placed in set(topics)
    found, scores = model.find_topics("memory limit", top_n=2)
    assert len(found) == 2
    assert scores[0] >= scores[1] > 0
