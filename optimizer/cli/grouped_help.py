"""Help in groups: options that belong together under one heading, with an example of their use."""

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Any], Any]


def grouped(title: str, example: str, *options: Decorator) -> tuple[Decorator, ...]:
    """Put options under one heading of `--help`; `example` is a command without the program's name."""
    return tuple(_tagged(option, title, example) for option in options)


def _tagged(option: Decorator, title: str, example: str) -> Decorator:
    def decorate(function: Any) -> Any:
        function = option(function)
        function.__click_params__[-1].help_group = (title, example)
        return function

    return decorate


class GroupedCommand(click.Command):
    """A command whose `--help` lists its options group by group."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each group with its example; what belongs to none comes last."""
        groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "help_group", ("Other", "")), []).append(record)
        program = ctx.find_root().info_name or ""
        widest = min(max(len(record[0]) for records in groups.values() for record in records), 30)
        for (title, example), records in sorted(groups.items(), key=lambda item: item[0][0] == "Other"):
            with formatter.section(title):
                formatter.write_dl(records, col_max=widest)
                if example:
                    formatter.write(f"{'':>{formatter.current_indent}}e.g. {program} {example}\n")
