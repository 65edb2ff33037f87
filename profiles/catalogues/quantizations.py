"""The weight formats and KV-cache dtypes of the catalogue."""

from collections.abc import Mapping, Sequence

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.kv_cache_dtype import KvCacheDtype
from vllm_opt.profiles.nouns.quantization import Quantization
from vllm_opt.profiles.reading.data_files import parse_rows, read_data_file
from vllm_opt.profiles.reading.name_index import index_names, lookup_key, resolve


def load_quantizations() -> tuple[Quantization, ...]:
    """Return every weight format."""
    return parse_rows(
        Quantization, read_data_file("quantizations.json")["quantizations"], "quantizations.json", "quantizations"
    )


def load_containers() -> dict[str, list[str]]:
    """Return the values of --quantization that name a file format and not a weight format, with what they may hold."""
    containers: dict[str, list[str]] = read_data_file("quantizations.json")["containers"]
    return containers


def find_quantization(
    name: str, quantizations: tuple[Quantization, ...], containers: Mapping[str, Sequence[str]]
) -> Quantization:
    """Return the weight format that an id or another spelling, vLLM's own included, means.

    Raises:
        InvalidRequest: the name is a container of several formats (compressed-tensors, quark …).
        UnknownProfile: no format has this name.
    """
    for container, formats in containers.items():
        if lookup_key(container) == lookup_key(name):
            listed = " or ".join(f"'{each}'" for each in formats)
            raise InvalidRequest(f"quantization '{container}' can hold several formats; name the one inside: {listed}")
    index = index_names((row.id, row.names) for row in quantizations)
    known = [spelling for row in quantizations for spelling in (row.id, *row.names)]
    row_id = resolve(name, index, known, "quantization", "`vllm-opt quantizations`")
    return next(row for row in quantizations if row.id == row_id)


def load_kv_cache_dtypes() -> tuple[KvCacheDtype, ...]:
    """Return every value of --kv-cache-dtype."""
    return parse_rows(
        KvCacheDtype,
        read_data_file("kv_cache_dtypes.json")["kv_cache_dtypes"],
        "kv_cache_dtypes.json",
        "kv_cache_dtypes",
    )


def find_kv_cache_dtype(name: str, dtypes: tuple[KvCacheDtype, ...]) -> KvCacheDtype:
    """Return the KV-cache dtype that a name means; 'fp8_e4m3' is 'fp8'.

    Raises:
        UnknownProfile: no KV-cache dtype has this name.
    """
    index = index_names((row.id, row.names) for row in dtypes)
    known = [spelling for row in dtypes for spelling in (row.id, *row.names)]
    row_id = resolve(name, index, known, "KV-cache dtype", "`vllm serve --help=kv-cache-dtype`")
    return next(row for row in dtypes if row.id == row_id)
