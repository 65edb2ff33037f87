"""The linter's rules by code, in one sentence each, and their pages in docs/lint."""

from vllm_opt.optimizer.linter.pages import improving, starting, words
from vllm_opt.optimizer.linter.pages.page import Page

_PAGES: tuple[type[Page], ...] = tuple(
    sorted((*words.PAGES, *starting.PAGES, *improving.PAGES), key=lambda page: page.code())
)
RULES: dict[str, str] = {page.code(): page.summary() for page in _PAGES}
"""Code -> what the rule says, in one sentence; SARIF lists them."""
RULE_PAGES: dict[str, str] = {page.code(): page.markdown() for page in _PAGES}
"""Code -> the rule's page, as docs/lint has it."""
_INTRODUCTION = """\
# Rules of `vllm-opt lint`

Every finding has the code of its rule. **error**: vLLM does not start, or not as meant; the exit code is 1.
**warning**: it starts, and loses something. **note**: worth knowing. **advice**: works, and could be better at a price;
silent without `--advice`.

`--select CODE,…` reports only these, `--ignore CODE,…` all but these, both also as lists under `[lint]` in
`vllm-opt.toml`. In a file, `# vllm-opt: ignore[code]` silences a rule on its line, on a line of its own for the line or
the command below, and `# vllm-opt: ignore-file[code]` in the whole file.

| code | level | what it says |
|---|---|---|
"""


def documentation() -> dict[str, str]:
    """File name -> text of docs/lint: one page per rule, and the list of them."""
    rows = [f"| [{page.code()}]({page.code()}.md) | {', '.join(page.levels)} | {page.summary()} |" for page in _PAGES]
    return {
        "README.md": _INTRODUCTION + "\n".join(rows) + "\n",
        **{f"{page.code()}.md": page.markdown() for page in _PAGES},
    }
