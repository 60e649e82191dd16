"""Threads, instruction sets, and the choice between the int8 variants."""

import struct
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from embedge import Embedder, SpaceMismatch
from embedge.models.bundle import Bundle
from embedge.models.manifest import GraphEntry
from embedge.runtime import cpu, loading
from embedge.runtime.cpu_windows import count_cores


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight CPUs on four cores, of which this process may use the first six."""
    monkeypatch.setattr(cpu.sys, "platform", "linux")
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    for number in range(8):
        first = number // 2 * 2
        folder = f"sys/devices/system/cpu/cpu{number}/topology"
        write(tmp_path, f"{folder}/thread_siblings_list", f"{first}-{first + 1}\n")
    return tmp_path


def test_hyper_threads_outside_and_inside_the_affinity_mask_count_once(machine: Path) -> None:
    assert cpu.plan_threads(machine) == cpu.ThreadPlan(3, 3, 6, None)


@pytest.mark.parametrize(
    ("limit", "quota", "threads"),
    [("max 100000", None, 3), ("200000 100000", 2.0, 2), ("250000 100000", 2.5, 2),
     ("50000 100000", 0.5, 1), ("900000 100000", 9.0, 3)],
)  # fmt: skip
def test_a_quota_of_control_groups_2_is_rounded_down(
    machine: Path, limit: str, quota: float | None, threads: int
) -> None:
    write(machine, "proc/self/cgroup", "0::/service/job\n")
    write(machine, "sys/fs/cgroup/service/job/cpu.max", limit)
    plan = cpu.plan_threads(machine)
    assert (plan.quota_cpus, plan.threads) == (quota, threads)


def test_the_smallest_quota_on_the_way_to_the_root_binds(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "0::/service/job\n")
    write(machine, "sys/fs/cgroup/service/job/cpu.max", "300000 100000")
    write(machine, "sys/fs/cgroup/service/cpu.max", "100000 100000")
    assert cpu.plan_threads(machine).quota_cpus == 1.0


def test_a_container_that_sees_the_host_path_finds_its_quota_at_the_root(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n")
    write(machine, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000")
    write(machine, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert cpu.plan_threads(machine).quota_cpus == 1.5


def test_control_groups_1_without_a_limit_give_none(machine: Path) -> None:
    write(machine, "proc/self/cgroup", "4:cpu:/\n")
    write(machine, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1")
    write(machine, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert cpu.plan_threads(machine).quota_cpus is None


def test_features_come_from_cpuinfo_in_a_fixed_order(machine: Path) -> None:
    write(machine, "proc/cpuinfo", "model name\t: X\nflags\t\t: fpu avx512_vnni avx2 sse2\n")
    assert cpu.cpu_features(machine) == ("avx2", "avx512_vnni")
    write(machine, "proc/cpuinfo", "Features\t: fp asimd asimddp i8mm\n")
    assert cpu.cpu_features(machine) == ("asimddp", "i8mm")


def test_windows_cores_are_the_core_records_inside_the_affinity_mask() -> None:
    def record(mask: int, relation: int) -> bytes:
        return struct.pack("<QI4x16x", mask, relation)

    # Two cores of two threads, a cache that spans all, a third core outside the mask.
    records = record(0b0011, 0) + record(0b1111, 2) + record(0b1100, 0) + record(0b110000, 0)
    assert count_cores(records, affinity=0b1111) == 2


def test_the_probe_is_one_integer_product_with_the_largest_weights() -> None:
    """The packaged graph, built again from its description."""
    helper = onnx.helper
    weights = np.full((cpu.PROBE_DEPTH, 32), 127, dtype=np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["activations", "weights"], ["sums"])],
        "saturation_probe",
        [
            helper.make_tensor_value_info(
                "activations", onnx.TensorProto.UINT8, ["rows", cpu.PROBE_DEPTH]
            )
        ],
        [helper.make_tensor_value_info("sums", onnx.TensorProto.INT32, ["rows", 32])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    packaged = files("embedge.runtime").joinpath("saturation_probe.onnx").read_bytes()
    assert model.SerializeToString(deterministic=True) == packaged


def pretend_sums(monkeypatch: pytest.MonkeyPatch, plain: int, exact: int) -> None:
    """Let the kernel give these sums, without and with the exact mode."""

    def session(*_: object, config: object = None, **__: object) -> SimpleNamespace:
        value = exact if config == cpu.EXACT_INT8 else plain
        return SimpleNamespace(run=lambda *_: [np.full((4, 32), value, dtype=np.int32)])

    monkeypatch.setattr(cpu, "open_session", session)
    cpu.int8_sums_saturate.cache_clear()


EXACT = 64 * 255 * 127
# Pairs of products clipped to 16 bits: 32 pairs of 32,767.
SATURATED = 32 * 32767


@pytest.fixture
def both_variants(tiny_bundle: Path, embedder: Embedder) -> Bundle:
    manifest = embedder.loaded.bundle.manifest
    graphs = tuple(GraphEntry(v, 32, "model.onnx") for v in ("int8", "int8-avx2"))  # type: ignore[arg-type]
    return Bundle(tiny_bundle, replace(manifest, graphs=graphs))


@pytest.fixture(autouse=True)
def _forget_pretended_sums() -> object:
    yield
    cpu.int8_sums_saturate.cache_clear()


def test_exact_sums_choose_int8(both_variants: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_sums(monkeypatch, EXACT, EXACT)
    monkeypatch.setattr(cpu, "cpu_features", lambda: ("avx2", "avx512_vnni"))
    assert cpu.choose_variant(both_variants) == (
        "int8", "8-bit sums are exact on this CPU (avx512_vnni)",
    )  # fmt: skip


def test_saturating_sums_choose_the_7_bit_variant(
    both_variants: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_sums(monkeypatch, SATURATED, EXACT)
    monkeypatch.setattr(cpu, "cpu_features", lambda: ("avx2",))
    assert cpu.choose_variant(both_variants) == (
        "int8-avx2", "8-bit sums saturate on this CPU (features: avx2)",
    )  # fmt: skip


def test_a_bundle_of_one_variant_leaves_no_choice(embedder: Embedder) -> None:
    assert cpu.choose_variant(embedder.loaded.bundle) == ("fp32", "tiny holds only fp32")


def test_int8_asked_for_on_a_saturating_cpu_runs_exactly_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_sums(monkeypatch, SATURATED, EXACT)
    assert loading.session_config("int8") == cpu.EXACT_INT8
    assert loading.session_config("int8-avx2") == {}
    pretend_sums(monkeypatch, SATURATED, SATURATED)
    with pytest.raises(SpaceMismatch, match="--variant int8-avx2"):
        loading.session_config("int8")


def test_this_machine_has_a_thread_and_a_name() -> None:
    plan = cpu.plan_threads()
    assert 1 <= plan.threads <= plan.physical_cores <= plan.logical_cpus
    assert cpu.cpu_model()
