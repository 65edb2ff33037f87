"""A report before it is written: sections of blocks. All words are plain text; the page escapes them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

Headings = Sequence[tuple[str, str]]
"""Name and side of every column: 'right' holds numbers."""
FILE_IN_A_REPOSITORY = re.compile(r"^([\w.-]+/[\w.-]+):(.+)@([0-9a-f]{40})$")
WEB_ADDRESS = re.compile(r"https?://[^\s<>\"'`]+[^\s<>\"'`.,;:)]")


@dataclass(frozen=True)
class Link:
    """Words that lead to a web address."""

    words: str
    address: str


Cell = str | Link


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: str
    kind: str = "words"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences; a short one stands beside what it belongs to."""

    items: tuple[Cell, ...]
    kind: str = "bullets"


@dataclass(frozen=True)
class Code:
    """Text in which spaces count, to be copied."""

    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Table:
    """Rows under headings; `total` is a last row that sums up."""

    headings: Headings
    rows: Sequence[Sequence[Cell]]
    total: Sequence[Cell] = ()
    kind: str = "table"


@dataclass(frozen=True)
class Figure:
    """A chart as markup that escaped its words itself (`optimizer/charts`), and what it tells."""

    svg: str
    title: str
    caption: str = ""
    kind: str = "figure"


@dataclass(frozen=True)
class Facts:
    """The few figures that matter most: name, value, and a word on it."""

    items: tuple[tuple[str, str, str], ...]
    kind: str = "facts"


Block = Words | Bullets | Code | Table | Figure | Facts


@dataclass(frozen=True)
class Section:
    """A heading with its blocks. `apart`: begins a page in print; `folded`: shown when opened, in print always."""

    title: str
    blocks: tuple[Block, ...]
    apart: bool = False
    folded: bool = False

    @property
    def figures_only(self) -> bool:
        """Whether charts may stand beside each other here."""
        return all(isinstance(block, Figure) for block in self.blocks)


@dataclass(frozen=True)
class Document:
    """A whole report: the verdict, the sentence that a manager repeats, and the sections."""

    title: str
    summary: str
    sections: tuple[Section, ...]
    good: bool = True
    subtitle: str = ""
    footer: str = ""


def section(title: str, *blocks: Block | None, apart: bool = False, folded: bool = False) -> tuple[Section, ...]:
    """A section of the blocks that hold something; none when all are empty."""
    kept = tuple(block for block in blocks if block is not None and _holds(block))
    return (Section(title, kept, apart, folded),) if kept else ()


def _holds(block: Block) -> bool:
    match block:
        case Words() | Code():
            return bool(block.text)
        case Bullets() | Facts():
            return bool(block.items)
        case Table():
            return bool(block.rows)
        case Figure():
            return bool(block.svg)


def source_link(source: str, words: str | None = None) -> Cell:
    """A source as a link: its web address, or that of a file at a commit ('owner/name:path@commit'); else its words."""
    if found := FILE_IN_A_REPOSITORY.match(source.strip()):
        repository, path, commit = found.groups()
        return Link(words or f"{repository}, {path}", f"https://github.com/{repository}/blob/{commit}/{path}")
    if address := WEB_ADDRESS.search(source):
        return Link(words or source, address.group())
    return f"{words}: {source}" if words else source


def words_of(cell: Cell) -> str:
    """The words of a cell, its address left out."""
    return cell.words if isinstance(cell, Link) else cell
