"""Which release a command is judged by: what was asked, what the image says, and what stands in for it."""

from dataclasses import dataclass

from vllm_opt.optimizer.linter.subject.request import LintRequest
from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile
from vllm_opt.profiles.nouns.engine import EngineProfile


@dataclass(frozen=True)
class ReadRelease:
    """The profile used; `note` says so where it is not the release's own."""

    engine: EngineProfile
    asked: str | None
    note: str

    @property
    def stands_in(self) -> str | None:
        """The release asked for, where another one's flags are used for it."""
        return self.asked if self.note else None


def release_of(request: LintRequest, command: ServeCommand, catalog: Catalog) -> ReadRelease:
    """Find the release; one that is older than every profile is judged by the oldest, with a note.

    Raises:
        InvalidRequest: a version that cannot be read, or an engine that the release does not have.
    """
    version = request.vllm_version or command.image_version
    engine_name = request.engine or ("v0" if command.environment.get("VLLM_USE_V1") == "0" else None)
    try:
        engine, note = catalog.engine(version, engine_name)
    except UnknownProfile:
        engine = next((each for each in catalog.engines if engine_name in (None, each.engine)), catalog.engines[0])
        note = (
            f"vLLM {version} is older than every profile here: flags, defaults and memory rules are those of "
            f"{engine.version}, and may differ in that release"
        )
    except InvalidRequest:
        if request.engine is not None or engine_name is None:
            raise
        engine, note = catalog.engine(version)
    return ReadRelease(engine, version.removeprefix("v") if version else None, note or "")
