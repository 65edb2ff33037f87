"""A report as one HTML page that loads nothing and runs nothing: Jinja2 escapes every word of it."""

from functools import cache
from typing import TYPE_CHECKING, Any

from vllm_opt.optimizer.report.document import Document, Link
from vllm_opt.profiles.printable import printable

if TYPE_CHECKING:
    from jinja2 import Environment, Template

WEB = ("http://", "https://")


def page(document: Document) -> str:
    """Write the whole page; the same document gives the same bytes."""
    return _template("report.html").render(document=document)


def filled(template: str, **values: Any) -> str:
    """A page of its own form: a template of this room with its values, escaped as everywhere."""
    return _template(template).render(**values)


@cache
def _template(name: str) -> "Template":
    return _environment().get_template(name)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vllm_opt.optimizer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_plain,
    )
    environment.tests["link"] = _is_link
    return environment


def _plain(value: Any) -> Any:
    """Text without control characters; markup that a template trusts stays as it is."""
    return printable(value) if type(value) is str else value


def _is_link(cell: object) -> bool:
    """Whether a cell leads somewhere; an address that is not of the web is no link."""
    return isinstance(cell, Link) and cell.address.startswith(WEB)
