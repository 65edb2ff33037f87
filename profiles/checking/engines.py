"""The vLLM releases: a file's name is its version, flags are told apart, and names that refer to other files."""

from vllm_opt.profiles.catalogues.engines import engine_files, load_engine
from vllm_opt.profiles.checking.fault import Fault, FileReport, fault, repeats, unknown_names
from vllm_opt.profiles.checking.sources import can_be_opened
from vllm_opt.profiles.nouns.engine import EngineProfile, FlagSpec
from vllm_opt.profiles.reading.data_files import DATA

MODELLED = ("max-model-len", "max-num-seqs", "max-num-batched-tokens", "gpu-memory-utilization", "kv-cache-dtype")
"""What every plan sets; `vllm serve` of every release has them."""


def check_engines(kv_cache_dtypes: dict[str, object]) -> list[FileReport]:
    """Check every release's profile.

    Raises:
        InvalidRequest: a profile breaks the schema.
    """
    read = {file.name: file for file in engine_files()}
    reports = []
    for path in sorted((DATA / "engines").glob("*.json")):
        name = f"engines/{path.name}"
        if path.stem not in read:
            wrong = fault(name, "", "the file's name is no release, as in 0.33.json or 0.8.5-v0.json")
            reports.append(FileReport(file=name, rows=0, faults=(wrong,)))
            continue
        engine = load_engine(read[path.stem])
        faults = tuple(_faults(name, path.stem, engine, kv_cache_dtypes))
        reports.append(FileReport(file=name, rows=len(engine.flags), faults=faults))
    return reports


def _faults(file: str, stem: str, engine: EngineProfile, kv_cache_dtypes: dict[str, object]) -> list[Fault]:
    found = [one for flag in engine.flags for one in _flag_faults(file, flag)]
    if stem.removesuffix("-v0").removesuffix("-v1") != engine.version:
        found.append(fault(file, "version", f"'{engine.version}' is not what the file is called"))
    spellings = [(name, flag.name) for flag in engine.flags for name in {f"--{flag.name}", *flag.short}]
    found += repeats(file, spellings, "spelling of a flag")
    names = {flag.name for flag in engine.flags}
    found += [
        fault(file, flag, "the flag exists and is also listed as removed")
        for flag in engine.removed_flags
        if flag in names
    ]
    found += [fault(file, flag, "every release has this flag; add it") for flag in MODELLED if flag not in names]
    found += unknown_names(
        file, [(dtype, "kv_cache_dtypes") for dtype in engine.kv_cache_dtypes], kv_cache_dtypes, "KV-cache dtype"
    )
    unknown_fields = [field for field in engine.interpolated if field.split(".")[0] not in EngineProfile.model_fields]
    found += [fault(file, "interpolated", f"'{field[:60]}' is no field of a release") for field in unknown_fields]
    if not any(can_be_opened(source) for source in engine.sources):
        found.append(fault(file, "sources", "none can be opened; name the wheel or source distribution, or an address"))
    tiers = [tier.min_memory_gib for tier in engine.batch_defaults]
    if not tiers or tiers[-1] != 0:
        found.append(fault(file, "batch_defaults", "the last tier must apply from 0 GiB on"))
    return found


def _flag_faults(file: str, flag: FlagSpec) -> list[Fault]:
    unset = flag.default is None or flag.default == ""  # vLLM's own word for "no parser"
    if flag.choices is None or unset or flag.values == "many" or str(flag.default) in flag.choices:
        return []
    return [fault(file, flag.name, f"the default '{flag.default}' is none of its choices")]
