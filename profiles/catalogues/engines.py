"""The vLLM releases of the catalogue, and which profile stands for a release that has none of its own."""

import re
from typing import Literal, NamedTuple

from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.data_files import DATA, parse_rows, read_data_file

Engine = Literal["v0", "v1"]

_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?([-_.+a-z0-9]*)", re.IGNORECASE)

V1_APPEARED = (0, 7, 0)
V1_BECAME_DEFAULT = (0, 8, 0)
V0_REMOVED = (0, 11, 0)
"""V1 could be switched on from 0.7.0, was the default from 0.8.0, and V0 left in 0.11.0 (vLLM release notes,
https://github.com/vllm-project/vllm/releases)."""

Release = tuple[int, int, int]

ANOTHER_RELEASE = "and may differ in that release"
"""How the sentence about a release without a profile of its own ends."""

OLDER_THAN_ALL = "is older than every profile here"
"""What that sentence says where the oldest profile stands in."""

MOVING = frozenset(("main", "nightly", "latest", "master"))
"""What people call the newest build."""

FIRST_NUMBERED = (0, 2, 0)
"""A build of a clone without tags calls itself 0.1.devN, or 0.0: its number says nothing about its age."""


class EngineFile(NamedTuple):
    """One profile on disk, known by its name alone: '0.8.5-v1.json' or '0.33.json'."""

    release: Release
    parts: int
    engine: Engine
    name: str

    @property
    def version(self) -> str:
        """The version as the file name spells it."""
        return ".".join(str(part) for part in self.release[: self.parts])

    def covers(self, release: Release) -> bool:
        """A profile named '0.33' is the profile of every 0.33.x."""
        return release[: self.parts] == self.release[: self.parts]


def engine_files() -> tuple[EngineFile, ...]:
    """Return the profiles in the catalogue, oldest first."""
    found = [_engine_file(path.stem) for path in (DATA / "engines").glob("*.json")]
    return tuple(sorted(file for file in found if file is not None))


def load_engine(file: EngineFile) -> EngineProfile:
    """Return one release's profile."""
    name = f"engines/{file.name}.json"
    return parse_rows(EngineProfile, [read_data_file(name)], name, "profile")[0]


def choose_engine(
    version: str | None, engine: Engine | None, files: tuple[EngineFile, ...]
) -> tuple[EngineFile, str | None]:
    """Return the newest profile that is not above `version` (else the oldest), and a sentence when it is not its own.

    A pre-release or a build ('0.19.1rc1.dev316+g39', '0.8.5.post1') counts as the release that it leads to or follows.

    Raises:
        InvalidRequest: the version cannot be read, or that release does not have the engine asked for.
        UnknownProfile: no release of that engine has a profile.
    """
    unnumbered = None if version is None else _without_a_number(version)
    if unnumbered:
        newest = _newest(files, engine)
        return newest, f"{unnumbered}: flags, defaults and memory rules are those of {newest.version}; name its release"
    release = files[-1].release if version is None else _parse_version(version)
    parts = files[-1].parts if version is None else 3
    chosen = engine or _default_engine(release)
    if engine is not None:
        _check_engine(release, parts, engine)
    candidates = [file for file in files if file.engine == chosen and (file.release <= release or file.covers(release))]
    if not candidates:
        oldest = next((file for file in files if file.engine == chosen), None)
        if oldest is None:
            raise UnknownProfile(f"no release of the {chosen.upper()} engine has a profile; see `vllm-opt engines`")
        return oldest, _not_its_own(release, OLDER_THAN_ALL, oldest)
    best = candidates[-1]
    if version is None or best.covers(release) or best.release == release:
        return best, None
    newer = all(file.release < release for file in files)
    why = "is newer than every profile here" if newer else "has no profile of its own"
    return best, _not_its_own(release, why, best)


def release_after(version: str | None, files: tuple[EngineFile, ...], taken: str, engine: Engine) -> str | None:
    """Return the release that a development build leads to: main after a tag has what the next release has, or not yet.

    '0.19.1rc1.dev316+g39' stands between 0.19 and 0.20. None for a release, and where no later one has a profile.
    """
    if version is None or ".dev" not in version or _without_a_number(version):
        return None
    later = (file for file in files if file.engine == engine and file.version != taken)
    return next((file.version for file in later if file.release > _parse_version(version)), None)


def release_after_series(version: str | None, files: tuple[EngineFile, ...], taken: str, engine: Engine) -> str | None:
    """Return the next release of a version of two numbers: '0.19' is a release, or a build of main that prints 0.19.x.

    None for '0.19.0' and whatever says more, and where no later release has a profile.
    """
    if version is None or re.fullmatch(r"v?\d+\.\d+", version.strip(), re.IGNORECASE) is None:
        return None
    later = (file for file in files if file.engine == engine and file.version != taken)
    return next((file.version for file in later if file.release > _parse_version(version)), None)


def _without_a_number(version: str) -> str | None:
    """Why a version says nothing about its release; None where it does."""
    text = version.strip().lower()
    if text in MOVING:
        return f"vLLM '{text}' moves"
    if ".dev" in text and _parse_version(version) < FIRST_NUMBERED:
        return f"vLLM {printable(text[:40])} is a build without a release number"
    return None


def _newest(files: tuple[EngineFile, ...], engine: Engine | None) -> EngineFile:
    """The newest profile of an engine.

    Raises:
        UnknownProfile: no release of that engine has a profile.
    """
    found = [file for file in files if engine in (None, file.engine)]
    if not found:
        raise UnknownProfile(f"no release of the {str(engine).upper()} engine has a profile; see `vllm-opt engines`")
    return found[-1]


def _not_its_own(release: Release, why: str, taken: EngineFile) -> str:
    return (
        f"vLLM {_shown(release)} {why}: flags, defaults and memory rules are those of {taken.version}, "
        f"{ANOTHER_RELEASE}"
    )


def _engine_file(stem: str) -> EngineFile | None:
    match = re.fullmatch(r"(\d+)\.(\d+)(?:\.(\d+))?(?:-(v0|v1))?", stem)
    if match is None:
        return None
    major, minor, patch, engine = match.groups()
    release = (int(major), int(minor), int(patch or 0))
    default: Engine = _default_engine(release)
    return EngineFile(release, 3 if patch is not None else 2, engine or default, stem)  # type: ignore[arg-type]


def _parse_version(text: str) -> Release:
    match = _VERSION.fullmatch(text.strip()) if len(text) <= 100 else None
    if match is None:
        raise InvalidRequest(f"vLLM version {printable(repr(text[:40]))} cannot be read; write it like 0.19.0")
    major, minor, patch, _ = match.groups()
    return (int(major), int(minor), int(patch or 0))


def _default_engine(release: Release) -> Engine:
    return "v1" if release >= V1_BECAME_DEFAULT else "v0"


def engine_environment(profile: EngineProfile) -> dict[str, str]:
    """The variable that starts this engine where it is not the release's own default; empty where it is."""
    if profile.engine == _default_engine(_parse_version(profile.version)):
        return {}
    return {"VLLM_USE_V1": "1" if profile.engine == "v1" else "0"}


def _check_engine(release: Release, parts: int, engine: Engine) -> None:
    if engine not in ("v0", "v1"):
        raise InvalidRequest(f"engine must be 'v0' or 'v1', not {printable(repr(str(engine)[:40]))}")
    shown = ".".join(str(part) for part in release[:parts])
    if engine == "v0" and release >= V0_REMOVED:
        raise InvalidRequest(f"vLLM {shown} has no V0 engine, which left in {_shown(V0_REMOVED)}; leave --engine out")
    if engine == "v1" and release < V1_APPEARED:
        raise InvalidRequest(f"vLLM {shown} has no V1 engine, which came in {_shown(V1_APPEARED)}; leave --engine out")


def _shown(release: Release) -> str:
    return ".".join(str(part) for part in release)
