"""The version of this package, as it was installed."""

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Return the installed version, or '0+source' when the source tree is used without an installation."""
    try:
        return version("vllm-opt")
    except PackageNotFoundError:
        return "0+source"
