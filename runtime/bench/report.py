"""What `embed bench` prints: for people and as JSON."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import cast

from embedge.runtime.bench.measure import (
    BenchResult,
    Throughput,
    median_and_range,
    percentile,
    ratios,
)
from embedge.runtime.markdown_table import markdown_table

Json = dict[str, object]

PERCENTILES = (50, 95, 99)
_SHOWN = 12  # operators and layers in the printed profile; JSON has all


def as_json(result: BenchResult, machine: Mapping[str, object]) -> Json:
    """Return all figures as JSON values: seconds, tokens per second, bytes."""
    return {
        "format": 1,
        "machine": dict(machine),
        "contestants": result.contestants,
        "cold_start_s": result.cold_start_s,
        "throughput": [_point(one) for one in result.throughput],
        "latency": [
            {"queries": len(seconds)}
            | {f"p{percent}_s": percentile(seconds, percent) for percent in PERCENTILES}
            for seconds in result.latency_s
        ],
        "memory": result.memory,
        "threads": {str(count): _point(one) for count, one in result.threads.items()},
        "profiles": result.profiles,
    }


def _point(one: Throughput) -> Json:
    found: Json = {**asdict(one.point), "tokens": one.tokens, "tokens_per_s": one.rates}
    if len(one.rates) == 2:
        middle, low, high = median_and_range(ratios(one.rates))
        found["ratio"] = {"median": middle, "min": low, "max": high}
    return found


def as_text(result: BenchResult, machine: Mapping[str, object]) -> str:
    """Return tables in Markdown: medians with the range of the rounds."""
    sections = [_machine(machine), _contestants(result), _speed(result), _starts(result)]
    # Profiles are there for all or for none.
    profiled = zip(_names(result), result.profiles, strict=False)
    sections += [_profile(name, one) for name, one in profiled]
    return "\n\n".join(sections) + "\n"


def _names(result: BenchResult) -> list[str]:
    """Name contestants by variant; by number where that does not tell them apart."""
    variants = [f"{c['model']} {c['variant']}" for c in result.contestants]
    if len(set(variants)) == len(variants):
        return variants
    return [f"{i}: {name}" for i, name in enumerate(variants, 1)]


def _machine(machine: Mapping[str, object]) -> str:
    cpu = cast(Mapping[str, object], machine["cpu"])
    versions = cast(Mapping[str, object], machine["versions"])
    features = ", ".join(cast(Sequence[str], cpu["features"]))
    names = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"{cpu['model']} ({features}), {machine['system']}; {names}"


def _contestants(result: BenchResult) -> str:
    lines = [
        [name, str(c["dim"]), str(c["threads"]), str(c["space"]), _mb(c["bundle_bytes"])]
        for name, c in zip(_names(result), result.contestants, strict=True)
    ]
    return markdown_table(["model", "dim", "threads", "space", "bundle"], lines)


def _speed(result: BenchResult) -> str:
    names = _names(result)
    compared = len(names) == 2
    header = ["tokens per second", *names] + (["second / first"] if compared else [])
    return markdown_table(header, [*_rates(result, compared=compared), *_latencies(result)])


def _rates(result: BenchResult, *, compared: bool) -> Iterator[list[str]]:
    for one in [*result.throughput, *result.threads.values()]:
        cells = [_spread(rates, "{:.0f}") for rates in one.rates]
        yield [one.point.name, *cells] + (
            [_spread(ratios(one.rates), "{:.2f}")] if compared else []
        )


def _latencies(result: BenchResult) -> Iterator[list[str]]:
    compared = len(result.latency_s) == 2
    for percent in PERCENTILES:
        found = [percentile(seconds, percent) for seconds in result.latency_s]
        cells = [f"{1000 * value:.2f} ms" for value in found]
        # As for throughput, above 1 means that the second is faster.
        ratio = [f"{found[0] / found[1]:.2f}"] if compared else []
        yield [f"single query, p{percent}", *cells, *ratio]


def _starts(result: BenchResult) -> str:
    lines = []
    for i, name in enumerate(_names(result)):
        start = cast(Mapping[str, float], result.contestants[i]["start"])
        cold = result.cold_start_s[i]
        lines.append([
            name,
            f"{statistics.median(cold):.2f} s" if cold else "",
            f"{start['import_s']:.2f} s",
            f"{start['open_s']:.2f} s",
            _mb(result.contestants[i]["resident_bytes"]),
            _mb(result.memory[i]["resident_bytes"]),
            _mb(result.memory[i]["peak_bytes"]),
        ])  # fmt: skip
    header = ["start and memory", "first vector", "import", "open", "RSS after opening"]
    return markdown_table([*header, "RSS at the end", "peak RSS"], lines)


def _profile(name: str, profile: Mapping[str, object]) -> str:
    batch = cast(Mapping[str, int], profile["batch"])
    parts = [f"Profile of {name}: {batch['texts']} texts, {batch['tokens']} padded tokens"]
    for title, key in (("operator", "by_operator"), ("layer", "by_layer")):
        times = cast(Mapping[str, float], profile[key])
        total = sum(times.values()) or 1.0
        lines = [
            [what, f"{time / 1000:.2f} ms", f"{100 * time / total:.1f} %"]
            for what, time in list(times.items())[:_SHOWN]
        ]
        parts.append(markdown_table([title, "per batch", "share"], lines))
    return "\n\n".join(parts)


def _spread(values: Sequence[float], form: str) -> str:
    middle, low, high = (form.format(value) for value in median_and_range(values))
    return f"{middle} ({low} to {high})"


def _mb(size: object) -> str:
    return f"{cast(int, size) / 1e6:.0f} MB"
