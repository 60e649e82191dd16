"""What a quantization chose and what it cost: printed, and kept in the bundle's manifest."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embedge.models.manifest import Json
from embedge.models.space import Variant
from embedge.quantize.distance import Distance
from embedge.quantize.scheme import SiteScheme

_SHOWN_LANGUAGES = 3


@dataclass(frozen=True)
class QuantizeReport:
    """Result of `quantize_bundle`.

    Attributes:
        bundle: the folder written.
        size_bytes: of all its files.
        schemes: what each site got, in graph order.
        kept_float: matrices that stay in float, with the reason.
        tables: the form of every embedding table, `int8 rows` or `4-bit rows`, by name.
        tokens: calibration tokens.
        distances: per variant; empty if not measured.
        seconds: duration of `calibrate`, `quantize` and `measure`.
    """

    bundle: Path
    size_bytes: int
    schemes: Mapping[str, SiteScheme]
    kept_float: Mapping[str, str]
    tables: Mapping[str, str]
    tokens: int
    distances: Mapping[Variant, Distance] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Return the report for `--json`."""
        return {
            "bundle": str(self.bundle),
            "size_bytes": self.size_bytes,
            "sites": {site: scheme.to_json() for site, scheme in self.schemes.items()},
            "kept_float": dict(self.kept_float),
            "tables": dict(self.tables),
            "tokens": self.tokens,
            "measured": {variant: d.to_json() for variant, d in self.distances.items()},
            "seconds": {phase: round(value, 2) for phase, value in self.seconds.items()},
        }

    def lines(self) -> Iterator[str]:
        """Give the report for people, line by line."""
        counts = Counter(scheme.method for scheme in self.schemes.values())
        yield f"{self.bundle}: {self.size_bytes / 1e6:.1f} MB"
        yield (
            f"inputs of {len(self.schemes)} sites: {counts['static']} with a constant range, "
            f"{counts['shifted']} shifted per row, {counts['row']} per row; "
            f"int8-avx2 has no constant ranges"
        )
        for site, scheme in self.schemes.items():
            yield f"  {site}: {_method(scheme)}; {scheme.reason}"
        for name, reason in self.kept_float.items():
            yield f"  {name}: float; {reason}"
        for table, form in self.tables.items():
            yield f"  {table}: {form}"
        for variant, distance in self.distances.items():
            yield from _distance_lines(variant, distance)
        times = ", ".join(f"{phase} {value:.1f} s" for phase, value in self.seconds.items())
        yield f"{self.tokens} calibration tokens; {times}"

    def __str__(self) -> str:
        """Join the lines."""
        return "\n".join(self.lines())


def _method(scheme: SiteScheme) -> str:
    if scheme.method == "static":
        return f"constant range {scheme.largest:g}, margin {scheme.margin:.2f}"
    if scheme.method == "shifted":
        return "shifted codes per row"
    return "range per row, smoothed" if scheme.smoothing is not None else "range per row"


def _distance_lines(variant: str, distance: Distance) -> Iterator[str]:
    for dim, size in distance.sizes.items():
        yield (
            f"{variant} at {dim} against fp32 on {distance.texts} texts: cosine mean "
            f"{size.mean:.5f}, 1st percentile {size.p1:.5f}, minimum {size.min:.5f}"
        )
    worst = sorted(distance.by_language.items(), key=lambda item: item[1])[:_SHOWN_LANGUAGES]
    yield (
        f"  max-abs {distance.max_abs:.4f}, top-10 overlap {distance.top10_overlap:.4f}, lowest "
        f"languages {', '.join(f'{name} {value:.5f}' for name, value in worst)}"
    )
    for router, share in distance.routing_agreement.items():
        yield f"  {router}: {share:.4f} of tokens keep their experts"
