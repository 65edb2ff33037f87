"""Whether another installed package also puts a `vllm-opt` on the path: PyPI's `vllm-optimizer` does.

Both write the same script, so the one that was installed last is the one that runs. `python -m vllm_opt` is always ours.
"""

from importlib.metadata import entry_points

COMMAND = "vllm-opt"


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
