"""A rule as its page shows it: code, levels, what --fix does, and the docstring."""

import re
from inspect import cleandoc
from typing import ClassVar

_HUMP = re.compile(r"(?<!^)(?=[A-Z])")


class Page:
    """Base of the rules; the name of a class, in snake case, is the rule's code."""

    levels: ClassVar[tuple[str, ...]] = ("error",)
    fix: ClassVar[str] = "--fix leaves this to you."

    @classmethod
    def code(cls) -> str:
        """The code of the rule."""
        return _HUMP.sub("_", cls.__name__).lower()

    @classmethod
    def summary(cls) -> str:
        """The first line."""
        return cleandoc(cls.__doc__ or "").partition("\n")[0]

    @classmethod
    def markdown(cls) -> str:
        """The page."""
        title, _, rest = cleandoc(cls.__doc__ or "").partition("\n")
        parts = [
            f"# {cls.code()}",
            title,
            rest.strip(),
            f"**Level:** {' or '.join(cls.levels)}.",
            f"**Fix:** {cls.fix}",
        ]
        silence = (
            f"Silence it with `# vllm-opt: ignore[{cls.code()}]` on or above the line, or `--ignore {cls.code()}`."
        )
        return "\n\n".join(part for part in (*parts, silence) if part) + "\n"
