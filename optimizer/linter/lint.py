"""`lint`: is this vLLM command right for this GPU, does it start, and what would be better."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllm_opt.optimizer.linter.check import LEVELS, Checked, check, read_command
from vllm_opt.optimizer.linter.fixes.file_fixes import Proposed, fixed_text
from vllm_opt.optimizer.linter.subject.catalog import ReadOnceCatalog
from vllm_opt.optimizer.linter.subject.report import CommandReport, Finding, FixedFile, LintReport, Unread
from vllm_opt.optimizer.linter.subject.request import LintRequest
from vllm_opt.optimizer.linter.suppression import Suppressions, check_codes, wanted
from vllm_opt.optimizer.serve_lines.files.paths import files_of
from vllm_opt.optimizer.serve_lines.files.sources import SourceFile, read_file, read_source
from vllm_opt.optimizer.serve_lines.shell.shell import serve_commands
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile, VllmOptError

MOST_COMMANDS = 100
NO_GPU = "no GPU is named: add --gpu SKU, for example --gpu h100-sxm; `vllm-opt gpus` lists them"


def lint(request: LintRequest, catalog: Catalog | None = None, *, text_only: bool = False) -> LintReport:
    """Check every command that starts a vLLM server in a line, in files, or in the files of folders.

    `text_only` is for text from another machine: no file that it names is looked at.

    Raises:
        InvalidRequest: no such command, no GPU for a single command or file, or text that cannot be read.
        UnknownProfile: a GPU that the catalogue does not hold.
    """
    catalog = ReadOnceCatalog(catalog or Catalog(gpu_file=request.gpu_file))
    check_codes(request)
    if request.gpu is not None:
        catalog.gpu(request.gpu)
    paths = (*((request.file,) if request.file is not None else ()), *request.paths)
    files, searched = files_of(paths, request.exclude) if len(paths) > 1 or request.paths else ([], False)
    if searched or len(files) > 1:
        return _several(request, files, catalog)
    source = _source(request, str(files[0]) if files else request.file)
    if text_only:
        source = replace(source, commands=tuple(replace(command, elsewhere=True) for command in source.commands))
    name = str(files[0]) if files else request.file
    found = _File(request, source, name, catalog, alone=True)
    return _report(request, [found], name, found.text)


def lint_command(
    text: str, gpu: str | None = None, vllm_version: str | None = None, *, catalog: Catalog | None = None, **load: Any
) -> LintReport:
    """Check one command or script; further keywords are the fields of a `LintRequest`.

    Raises:
        InvalidRequest: as `lint`.
        UnknownProfile: as `lint`.
    """
    return lint(LintRequest(command=text, gpu=gpu, vllm_version=vllm_version, **load), catalog)


def _source(request: LintRequest, file: str | None) -> SourceFile:
    if file is not None:
        return read_source(file)
    text = request.command or ""
    commands = serve_commands(text)
    if not commands:
        shown = " ".join(text.split())[:60]
        raise InvalidRequest(
            f"no command that starts a vLLM server in '{shown}'; give it as \"vllm serve MODEL --flag …\", "
            "or a file with --file"
        )
    return SourceFile(text, tuple(commands), None)


def _several(request: LintRequest, files: Sequence[Path], catalog: Catalog) -> LintReport:
    """Every file on its own; one that cannot be read is noted, and no solver runs."""
    quick = request.replaced(optimum=False)
    found: list[_File] = []
    unread: list[Unread] = []
    for file in files:
        try:
            source = read_file(file)
            found.append(_File(quick, source, str(file), catalog, alone=False))
        except VllmOptError as fault:
            unread.append(Unread(file=str(file), line=1, reason=str(fault)))
    return _report(request, found, None, "", unread)


class _File:
    """One input: its commands checked, its fixes proven."""

    def __init__(
        self, request: LintRequest, source: SourceFile, name: str | None, catalog: Catalog, *, alone: bool
    ) -> None:
        if len(source.commands) > MOST_COMMANDS:
            raise InvalidRequest(
                f"{len(source.commands)} vLLM commands in one file are too many; give at most {MOST_COMMANDS}"
            )
        self.request, self.source, self.name, self.catalog = request, source, name, catalog
        self.unread = [Unread(file=name, line=line, reason=reason) for line, reason in source.unread]
        checked = [each for command in source.commands if (each := self._checked(command, alone=alone)) is not None]
        self.suppressions = Suppressions(source.text)
        proposed = [Proposed(each.correction, each.read.engine) for each in checked]
        self.text, self.withheld = fixed_text(source, proposed)
        self.suppressed = 0
        self.commands = [self._reported(number, each) for number, each in enumerate(checked)]

    def _checked(self, command: Any, *, alone: bool) -> Checked | None:
        gpu = self._gpu(command, alone=alone)
        if self.request.gpu == "local" and command.gpu_count is None:
            command = replace(command, gpu_count=len(self.catalog.local_gpus))
        try:
            return check(
                self.request, read_command(self.request, command, self.source.folder, self.catalog, gpu), self.catalog
            )
        except VllmOptError as fault:
            if alone:
                raise
            self.unread.append(Unread(file=self.name, line=command.line, reason=str(fault)))
            return None

    def _gpu(self, command: Any, *, alone: bool) -> str | None:
        """The GPU asked for, else what the file says; a name that the file has and nobody knows counts as none."""
        if self.request.gpu is not None:
            return self.request.gpu
        if command.gpu is not None:
            try:
                return self.catalog.gpu(command.gpu).id
            except UnknownProfile:
                if alone:
                    raise
                return None
        if alone:
            raise InvalidRequest(NO_GPU)
        return None

    def _reported(self, number: int, each: Checked) -> CommandReport:
        first = each.read.command.line
        last = max([first, *(word.line for word in each.read.command.arguments)])
        kept: list[Finding] = []
        for finding in each.report.findings:
            if not wanted(finding, self.request) or self.suppressions.cover(finding, first, last):
                self.suppressed += finding.level != "advice" or self.request.advice
                continue
            kept.append(finding.model_copy(update={"file": self.name}))
        return each.report.model_copy(
            update={
                "findings": tuple(kept),
                "file": self.name,
                "withheld": each.withheld or self.withheld.get(number, ""),
            }
        )


def _report(
    request: LintRequest, files: Sequence[_File], name: str | None, text: str, unread: Sequence[Unread] = ()
) -> LintReport:
    commands = tuple(command for file in files for command in file.commands)
    counts = {level: sum(f.level == level for command in commands for f in command.findings) for level in LEVELS}
    several = name is None and request.command is None
    return LintReport(
        file=name,
        errors=counts["error"],
        warnings=counts["warning"],
        notes=counts["note"],
        advice=counts["advice"],
        suppressed=sum(file.suppressed for file in files),
        commands=commands,
        files=tuple(
            FixedFile(file=file.name or "", fixed_text=file.text) for file in files if several and file.commands
        ),
        unread=(*unread, *(each for file in files for each in file.unread)),
        fixed_text=text,
    )
