"""The version of this package, as it was installed, and who else installs its command."""

from importlib.metadata import PackageNotFoundError, entry_points, version

COMMAND = "vllm-opt"
"""PyPI's `vllm-optimizer` installs a command of this name too: the package that was installed last has it."""


def installed_version() -> str:
    """Return the installed version, or '0+source' when the source tree is used without an installation."""
    try:
        return version("vllm-opt")
    except PackageNotFoundError:
        return "0+source"


def others_with_the_command() -> tuple[str, ...]:
    """Names of the other installed packages that install the command, in order; empty where there are none."""
    found = set()
    for entry in entry_points(group="console_scripts", name=COMMAND):
        name = entry.dist.metadata["Name"] if entry.dist is not None else ""
        if not entry.module.startswith("vllm_opt."):
            found.add(name or entry.module)
    return tuple(sorted(found))


def clash_warning() -> str | None:
    """One sentence for whoever has both; None where there is nothing to say."""
    others = others_with_the_command()
    if not others:
        return None
    return (
        f"{', '.join(others)} installs a command '{COMMAND}' too, and the package that was installed last has it: run "
        f"this one as 'python -m vllm_opt', or uninstall the other"
    )
