"""The GPUs of the catalogue, and those a user adds."""

from pathlib import Path

import pytest

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.local_gpus import LocalDevice, match_device, read_local_gpus
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.reading.name_index import whole_key

GIB = 2**30
CATALOG = Catalog()
SKUS = 64
"""Cards in the catalogue: a row that is lost, or twice there, is noticed."""


def test_every_sku_of_the_price_lists_and_measurements_is_there() -> None:
    assert len(CATALOG.gpus) == SKUS
    assert len({gpu.id for gpu in CATALOG.gpus}) == SKUS


@pytest.mark.parametrize("gpu", CATALOG.gpus, ids=lambda gpu: gpu.id)
def test_every_row_has_openable_sources_and_sane_units(gpu: GpuProfile) -> None:
    assert any("https://" in source for source in gpu.sources)
    assert any("datasheet" in source for source in gpu.sources)
    assert 8e9 < gpu.memory_bytes <= gpu.memory_bytes_high < 320e9
    # what CUDA reports is never more than the nominal size taken as GiB, and rarely under 0.9 of it
    assert 0.88 * gpu.memory_gb_nominal * 1e9 <= gpu.memory_bytes <= gpu.memory_gb_nominal * GIB
    assert 1e11 <= gpu.memory_bandwidth_bytes_per_s <= 1e13
    assert 1e13 < gpu.half_flops_per_s < 1e16
    assert 30 < (gpu.tdp_watts or 100) <= 1400
    assert 1 <= gpu.gpus_per_node <= 8
    assert gpu.memory_basis in ("measured", "derived")
    assert gpu.memory_basis == "measured" or gpu.memory_note
    assert (gpu.compute_capability is not None) == (gpu.vendor == "nvidia")
    for peak in (gpu.fp8_flops_per_s, gpu.fp4_flops_per_s):
        assert peak is None or peak >= gpu.half_flops_per_s


@pytest.mark.parametrize(
    ("gpu", "low_gib", "high_gib", "basis"),
    [
        ("h100-sxm", 79.1, 79.44, "measured"),
        ("a100-sxm4-80gb", 79.15, 79.35, "measured"),
        ("b200", 178.35, 178.36, "measured"),
        ("rtx-a6000", 44.55, 47.54, "measured"),
        ("h100-pcie", 81559 / 1024 - 0.9, 81559 / 1024, "derived"),
        ("gb300", 284208 / 1024 - 0.9, 284208 / 1024, "derived"),
        ("mi325x", 256 * 191.45 / 192, 256.0, "derived"),
        ("v100-sxm2-32gb", 31.73, 31.74, "derived"),
        ("mi355x", 287.98, 287.98, "measured"),
        ("rtx-pro-6000-ws", 94.97, 95.09, "derived"),
        ("h20", 95.0, 96.0, "derived"),
        ("h20-141gb", 139.72, 139.81, "derived"),
        ("h200-nvl", 139.72, 139.81, "derived"),
        ("rtx-6000-ada", 47.37, 48.0, "derived"),
    ],
)
def test_memory_is_what_the_runtime_reports(gpu: str, low_gib: float, high_gib: float, basis: str) -> None:
    profile = CATALOG.gpu(gpu)
    assert profile.memory_bytes == pytest.approx(low_gib * GIB, abs=1)
    assert profile.memory_bytes_high == pytest.approx(high_gib * GIB, abs=1)
    assert profile.memory_basis == basis


def test_a_number_of_each_kind() -> None:
    h100 = CATALOG.gpu("h100-sxm")
    assert h100.memory_bandwidth_bytes_per_s == 3.35e12
    assert h100.bf16_flops_per_s == 989.5e12
    assert h100.fp8_flops_per_s == 1979e12
    assert h100.compute_capability == (9, 0)
    assert h100.interconnect.gb_per_s_per_direction == 450
    assert h100.interconnect.gpus_joined is None
    assert CATALOG.gpu("b200").memory_bandwidth_bytes_per_s == 7.7e12
    assert CATALOG.gpu("b300").memory_bandwidth_bytes_per_s == 7.75e12


def test_one_mi250x_is_one_of_two_devices() -> None:
    gpu = CATALOG.gpu("mi250x")
    assert gpu.memory_gb_nominal == 64
    assert gpu.memory_bytes == int(64 * 191.45 / 192 * GIB)
    assert gpu.memory_bandwidth_bytes_per_s == 1638e9
    assert gpu.bf16_flops_per_s == 191.5e12
    assert gpu.tdp_watts == 280


def test_nvlink_on_pcie_cards_joins_two() -> None:
    for name in ("a100-pcie-80gb", "h100-pcie", "h100-nvl", "h200-nvl", "a40", "rtx-a6000", "rtx-3090"):
        link = CATALOG.gpu(name).interconnect
        assert (link.kind, link.gpus_joined) == ("nvlink", 2)
        assert link.pcie_gb_per_s_per_direction in (32.0, 64.0)
    assert CATALOG.gpu("gb200").interconnect.gpus_joined == 72


def test_t4_and_v100_have_no_bf16_and_use_fp16() -> None:
    for name in ("t4", "v100", "v100-pcie-16gb"):
        gpu = CATALOG.gpu(name)
        assert gpu.bf16_flops_per_s is None
        assert gpu.half_flops_per_s == gpu.fp16_flops_per_s


@pytest.mark.parametrize(
    ("name", "gpu"),
    [
        ("h100", "h100-sxm"),
        ("h200", "h200-sxm"),
        ("a100", "a100-sxm4-80gb"),
        ("v100", "v100-sxm2-32gb"),
        ("H100-SXM-80GB", "h100-sxm"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA_H100_80GB_HBM3", "h100-sxm"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm4-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie-80gb"),
        ("Tesla V100-SXM2-32GB", "v100-sxm2-32gb"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("AMD Instinct MI300X", "mi300x"),
        ("NVIDIA B300 SXM6 AC", "b300"),
        ("H100-SXM", "h100-sxm"),
        ("A100-SXM-80GB", "a100-sxm4-80gb"),
        ("A100-SXM-40GB", "a100-sxm4-40gb"),
        ("A100-PCIe-80GB", "a100-pcie-80gb"),
        ("A100-80GB", "a100-sxm4-80gb"),
        ("RTX-A6000", "rtx-a6000"),
        ("RTX-6000-Ada", "rtx-6000-ada"),
        ("RTX-PRO-6000", "rtx-pro-6000-server"),
        ("RTX4090", "rtx-4090"),
        ("B200-SXM", "b200"),
        ("B300-SXM", "b300"),
        ("H200-NVL", "h200-nvl"),
        ("GH200", "gh200-96gb"),
        ("Gaudi3", "gaudi3"),
        ("  mi300X ", "mi300x"),
    ],
)
def test_names_found_in_the_wild(name: str, gpu: str) -> None:
    assert CATALOG.gpu(name).id == gpu


def test_no_name_means_two_skus() -> None:
    owner: dict[str, str] = {}
    for gpu in CATALOG.gpus:
        for name in (gpu.id, gpu.name, *gpu.aliases, *gpu.vllm_device_names):
            assert owner.setdefault(whole_key(name), gpu.id) == gpu.id, name
            assert CATALOG.gpu(name).id == gpu.id


@pytest.mark.parametrize(
    ("label", "gpu"),
    [
        ("nvidia-tesla-t4", "t4"),
        ("nvidia-tesla-v100", "v100-sxm2-16gb"),
        ("nvidia-tesla-a100", "a100-sxm4-40gb"),
        ("nvidia-a100-80gb", "a100-sxm4-80gb"),
        ("nvidia-l4", "l4"),
        ("nvidia-h100-80gb", "h100-sxm"),
        ("nvidia-h100-mega-80gb", "h100-sxm"),
        ("nvidia-h200-141gb", "h200-sxm"),
        ("nvidia-b200", "b200"),
        ("nvidia-gb200", "gb200"),
        ("nvidia-rtx-pro-6000", "rtx-pro-6000-server"),
        ("NVIDIA-A100-SXM4-80GB", "a100-sxm4-80gb"),
        ("Tesla-V100-SXM2-16GB", "v100-sxm2-16gb"),
        ("NVIDIA-L20", "l20"),
    ],
)
def test_labels_of_cloud_nodes(label: str, gpu: str) -> None:
    """Google's accelerator labels and those of NVIDIA's feature discovery; "a100" alone stays the 80 GB card."""
    assert CATALOG.gpu(label).id == gpu
    assert CATALOG.gpu("a100").id == "a100-sxm4-80gb"


@pytest.mark.parametrize(
    "name",
    ["A800", "H800", "L20", "A5000", "RTX 3060", "RTX 4060 Ti", "RTX 4070", "RTX 4080", "RTX 5070 Ti", "RTX 5080",
     "RTX 2080 Ti", "RTX 4500 Ada", "RTX 5000 Ada", "MI308X", "7900 XTX", "Strix Halo", "H20-3e"],
)  # fmt: skip
def test_cards_that_people_ask_for(name: str) -> None:
    assert CATALOG.gpu(name).memory_bytes > 10 * GIB


def test_what_is_taken_before_vllm_starts() -> None:
    """271 of 288 GiB of an MI355X are free; a GB10 shares its memory with the operating system."""
    mi355x, gb10 = CATALOG.gpu("mi355x"), CATALOG.gpu("gb10")
    assert (mi355x.memory_bytes - mi355x.taken_at_start_bytes) / GIB == pytest.approx(271, abs=0.1)
    assert gb10.free_at_start_share == 0.89
    assert gb10.free_at_start_spread == 0.045
    assert CATALOG.gpu("h100").taken_at_start_bytes == 0
    assert all(gpu.free_at_start_source for gpu in CATALOG.gpus if gpu.free_at_start_share is not None)


@pytest.mark.parametrize("name", ["h1000", "A100-SXM-160GB", "", "-", "mi250", "\x1b[31mh100x", "x" * 100_000])
def test_an_unknown_name_is_one_sentence(name: str) -> None:
    with pytest.raises(UnknownProfile) as caught:
        CATALOG.gpu(name)
    message = str(caught.value)
    assert "is unknown; " in message
    assert "\x1b" not in message
    assert len(message) < 250


def test_the_nearest_names_are_offered() -> None:
    with pytest.raises(UnknownProfile, match="did you mean 'rtx-4090'"):
        CATALOG.gpu("rtx-4900")


def gpu_file(folder: Path, text: str) -> Catalog:
    path = folder / "my-gpus.yaml"
    path.write_text(text)
    return Catalog(gpu_file=path)


def test_a_user_file_changes_a_known_sku(tmp_path: Path) -> None:
    catalog = gpu_file(tmp_path, "gpus:\n  - id: h100-sxm\n    memory_gib: 78.5\n    gpus_per_node: 4\n")
    gpu = catalog.gpu("h100")
    assert gpu.memory_bytes == gpu.memory_bytes_high == int(78.5 * GIB)
    assert gpu.gpus_per_node == 4
    assert gpu.fp8_flops_per_s == 1979e12
    assert "my-gpus.yaml" in gpu.memory_note
    assert len(catalog.gpus) == SKUS


def test_a_user_file_adds_a_sku_from_another(tmp_path: Path) -> None:
    catalog = gpu_file(
        tmp_path, "- id: h100-96gb\n  name: H100 96GB\n  base: h100-sxm\n  memory_gib: 94.5\n  aliases: [our-h100]\n"
    )
    assert catalog.gpu("OUR H100").id == "h100-96gb"
    assert catalog.gpu("our-h100").memory_bytes == int(94.5 * GIB)
    assert catalog.gpu("h100").id == "h100-sxm"
    assert len(catalog.gpus) == SKUS + 1


def test_a_users_id_wins_over_an_alias(tmp_path: Path) -> None:
    catalog = gpu_file(tmp_path, "- {id: h100, name: ours, base: h100-sxm, memory_gib: 60}\n")
    assert catalog.gpu("h100").memory_bytes == 60 * GIB


def test_every_fault_of_a_user_file_is_named_at_once(tmp_path: Path) -> None:
    catalog = gpu_file(
        tmp_path,
        "gpus:\n"
        "  - {id: a, base: h100, memory_bytes: -5}\n"
        "  - {id: b, base: h100, vendor: acme, colour: red}\n"
        "  - {id: c, name: c}\n",
    )
    with pytest.raises(InvalidRequest) as caught:
        catalog.gpu("h100")
    message = str(caught.value)
    assert message.startswith("'my-gpus.yaml' has ")
    assert "gpus[0].memory_bytes (a): input should be greater than 0" in message
    assert "gpus[1].vendor (b): " in message
    assert "gpus[1].colour (b): extra inputs are not permitted" in message
    assert "gpus[2].memory_bandwidth_bytes_per_s (c): field required" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hello", "must hold a list of GPUs"),
        ("[]", "must hold a list of GPUs"),
        ("gpus: 3", "must hold a list of GPUs"),
        ("- h100", r"gpus\[0\] must be a mapping with an 'id'"),
        ("- {name: x}", r"gpus\[0\] must be a mapping with an 'id'"),
        ("- {id: x, base: h1000}", r"base: GPU 'h1000' is unknown"),
        ("- {id: x, base: 3}", "must be the name of a GPU"),
        ("- {id: x, base: h100, memory_gib: lots}", "memory_gib must be a number"),
        ("- {id: x, base: h100, memory_gib: 0}", "memory_gib must be above 0"),
        ("- {id: x, base: h100}\n- {id: x, base: a100}", "'x' is given twice"),
        ("- {id: h100-sxm, memory_bytes: 9, memory_bytes_high: 8}", "memory_bytes_high is below memory_bytes"),
        ("gpu:\n  - {id: x}", "must hold a list of GPUs"),
        ("gpus: [{id: x}]\nprices: []", "unknown key 'prices'"),
        ("- {id: h100-sxm, memory_bytes: [1]}", r"gpus\[0\].memory_bytes"),
    ],
)
def test_a_wrong_user_file_is_one_sentence(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises((InvalidRequest, UnknownProfile), match=problem):
        _ = gpu_file(tmp_path, text).gpus


def test_local_devices_are_matched_by_name_and_memory() -> None:
    def matched(name: str, mib: int) -> str:
        return match_device(LocalDevice(name, mib * 2**20), CATALOG.gpus).id

    assert matched("NVIDIA H100 80GB HBM3", 81559) == "h100-sxm"
    assert matched("NVIDIA A100-SXM4-40GB", 40960) == "a100-sxm4-40gb"
    assert matched("NVIDIA A100-SXM4-80GB", 81920) == "a100-sxm4-80gb"
    assert matched("Tesla T4", 15360) == "t4"
    assert matched("NVIDIA GeForce RTX 4090", 24564) == "rtx-4090"
    assert matched("NVIDIA H200", 143771) == "h200-sxm"


@pytest.mark.parametrize(("name", "mib"), [("NVIDIA GeForce GTX 1080", 8192), ("NVIDIA GeForce RTX 4090", 49140)])
def test_a_local_device_that_is_no_sku_is_refused(name: str, mib: int) -> None:
    with pytest.raises(InvalidRequest, match="is not in the catalogue; describe it in a file and pass --gpu-file"):
        match_device(LocalDevice(name, mib * 2**20), CATALOG.gpus)


def test_without_the_nvml_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    with pytest.raises(InvalidRequest, match="pip install nvidia-ml-py"):
        read_local_gpus(CATALOG.gpus)
