"""`--save-dir DIR [--emit LIST] [--check]`: the folder that starts what an answer recommends."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from vllm_opt.optimizer.cli.grouped_help import Decorator
from vllm_opt.optimizer.cli.options import switch, text
from vllm_opt.profiles.reading.quantities import counted

if TYPE_CHECKING:
    from vllm_opt.optimizer.deployment.deployment import Deployment

STALE = 1
"""Exit code when --check finds a difference."""
SAVE_DIR_OPTIONS: tuple[Decorator, ...] = (
    text("--save-dir", metavar="DIR", help="Also write the folder that starts the plan, or with --check compare it."),
    text(
        "--emit", many=True, metavar="LIST",
        help="What the folder holds: scripts, compose, kubernetes, kserve, helm, kustomize or all. Default: the "
        "first three.",
    ),
    switch("--check", help="With --save-dir: write nothing; print a diff and exit 1 when the folder is stale."),
)  # fmt: skip


def check_save_options(options: dict[str, Any]) -> None:
    """Refuse options that mean nothing together, before anything is solved.

    Raises:
        click.UsageError: --emit or --check without --save-dir.
        InvalidRequest: --emit names what does not exist.
    """
    if options["save_dir"] is None:
        if options["emit"] or options["check"]:
            raise click.UsageError("--emit and --check are about a folder; name it with --save-dir DIR")
        return
    from vllm_opt.optimizer.deployment.files import emit_of

    emit_of(options["emit"])


def saved(options: dict[str, Any], deployments: "Callable[[], dict[str, Deployment]]") -> int | None:
    """Write or check the folders, by their path below --save-dir; None without --save-dir, else an exit code.

    Raises:
        InvalidRequest: a folder cannot be written.
    """
    if options["save_dir"] is None:
        return None
    from pathlib import Path

    from vllm_opt.optimizer.deployment.files import emit_of
    from vllm_opt.optimizer.deployment.folder import write_folder
    from vllm_opt.profiles.printable import printable

    emit, root, check = emit_of(options["emit"]), Path(options["save_dir"]).expanduser(), bool(options["check"])
    changed = files = 0
    for place, deployment in deployments().items():
        report = write_folder(deployment, root / place, emit, check=check)
        changed, files = changed + len(report.changed), files + len(report.files)
        if check and report.diff:
            click.echo(printable(report.diff), nl=False)
    shown = printable(str(root))
    if not check:
        click.echo(f"{counted(files, 'file')} in {shown}, {changed} of them written", err=True)
        return 0
    if changed:
        click.echo(f"{shown} is stale: {counted(changed, 'file')} would change", err=True)
        return STALE
    click.echo(f"{shown} is up to date", err=True)
    return 0
