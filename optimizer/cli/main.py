"""The `vllm-opt` command: find the sub-command, call it, and turn whatever happens into an exit code.

A sub-command lives in its own file and is imported only when it is called, so that `vllm-opt --help` imports nothing
but click. To add one: write a `click.Command` whose function returns its exit code, and name it in `COMMANDS`.

Exit codes: 0 an answer; 1 nothing fits or findings of level error; 2 bad input; 3 the time limit passed without an
answer; 70 a fault of this program; 130 interrupted.
"""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from vllm_opt.optimizer.cli import synonyms
from vllm_opt.optimizer.cli.synonyms import meant
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.printable import printable

PROGRAM = "vllm-opt"
LONGEST_COMPLAINT = 2000
BAD_INPUT, PROGRAM_FAULT, INTERRUPTED = 2, 70, 130
ISSUE_HINT = "run again with VLLM_OPT_DEBUG=1 and report the traceback together with the command"

COMMANDS: dict[str, tuple[str, str]] = {
    "solve": ("vllm_opt.optimizer.cli.solve:solve_command", "The best deployment for a model and a load, with proof."),
    "explain": ("vllm_opt.optimizer.cli.explain:explain_command", "Why nothing fits and what would, or what binds."),
    "estimate": ("vllm_opt.optimizer.cli.estimate:estimate_command", "What one given vLLM configuration would do."),
    "simulate": (
        "vllm_opt.optimizer.cli.simulate:simulate_command",
        "Play requests through vLLM's scheduler, step by step.",
    ),
    "batch": ("vllm_opt.optimizer.cli.batch:batch_command", "Recommended configurations for many models."),
    "procure": ("vllm_opt.optimizer.cli.procure:procure_command", "Which GPUs to buy or rent for all that is served."),
    "place": ("vllm_opt.optimizer.cli.place:place_command", "Where each model runs on the GPUs that you own."),
    "lint": (
        "vllm_opt.optimizer.cli.lint:lint_command",
        "Check a vllm serve command, script, compose or Kubernetes file.",
    ),
    "calibrate": (
        "vllm_opt.optimizer.cli.measuring.calibrate:calibrate_command",
        "Learn from your own vLLM logs and benchmark results.",
    ),
    "verify": (
        "vllm_opt.optimizer.cli.measuring.verify:verify_command",
        "Does the running server do what the plan says.",
    ),
    "doubt": ("vllm_opt.optimizer.cli.measuring.doubt:doubt_command", "Which one benchmark would change the answer."),
    "models": ("vllm_opt.optimizer.cli.catalogue:models_command", "List the models of the catalogue."),
    "quality": ("vllm_opt.optimizer.cli.quality:quality_command", "What a model keeps of its scores, by format."),
    "gpus": ("vllm_opt.optimizer.cli.catalogue:gpus_command", "List the GPU SKUs of the catalogue."),
    "quantizations": ("vllm_opt.optimizer.cli.catalogue:quantizations_command", "List the weight formats."),
    "engines": ("vllm_opt.optimizer.cli.catalogue:engines_command", "List the vLLM releases."),
    "web": ("vllm_opt.optimizer.cli.web:web_command", "The page and the HTTP API, on this machine."),
    "prices": ("vllm_opt.optimizer.cli.prices:prices_command", "List the machines on offer, or import a price list."),
    "check-data": (
        "vllm_opt.optimizer.cli.upkeep.check_data:check_data_command",
        "Check the data files, or one of your own.",
    ),
}
"""Name -> (where the command is, what it does in one line)."""


class Interrupted(Exception):  # noqa: N818 - what a person does is no error
    """Somebody pressed Ctrl-C."""


class ReaderLeft(Exception):  # noqa: N818 - what a reader does is no error
    """Whoever read standard output has enough."""


class LazyGroup(click.Group):
    """A group that knows its commands by address and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]} is not a command")
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`help` and `help COMMAND` are other words for `--help`."""
        if args[:1] == ["help"]:
            args = [*args[1:2], "--help"]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest ones."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = meant(args[0], COMMANDS, synonyms.COMMANDS) or f"; commands are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command '{args[0]}'{hint}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing and not {"-h", "--help"} & set(rest):
            self._read_settings(ctx, command)
        return name, command, rest

    def _read_settings(self, ctx: click.Context, command: click.Command) -> None:
        """Take the environment and the settings files for what is not typed; every command's options are known."""
        from vllm_opt.optimizer.cli.settings import settings_for, settings_wanted, unknown_variables

        if not settings_wanted():
            return
        commands = {name: found for name in COMMANDS if (found := self.get_command(ctx, name)) is not None}
        for sentence in unknown_variables(commands):
            _say(f"{PROGRAM}: warning: {sentence}")
        ctx.obj = settings_for(command, commands)
        ctx.default_map = {command.name or "": ctx.obj.values}

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; click itself would print an empty line for an interruption."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None
        except BrokenPipeError:
            raise ReaderLeft from None  # click itself would leave with 1, which says that nothing fits

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _print_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        from vllm_opt.profiles.version import clash_warning, installed_version

        click.echo(f"{PROGRAM} {installed_version()}")
        if warning := clash_warning():
            _say(f"{PROGRAM}: warning: {warning}")
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    "-V",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version.",
)
def root() -> None:
    """Find the provably best vLLM deployment: GPU, count, parallelism, quantisation and every memory flag.

    `vllm-opt solve Qwen/Qwen3-8B --workload chat` is a good first command; `vllm-opt COMMAND --help` lists the options
    of each, in groups with an example.
    """


def _complain(sentence: str) -> None:
    words = printable(" ".join(sentence.split()))
    if len(words) > LONGEST_COMPLAINT:
        words = words[:LONGEST_COMPLAINT] + " …"
    _say(f"{PROGRAM}: error: {words}")


def _say(line: str) -> None:
    """Write to standard error; where nobody can read it the exit code still tells."""
    with suppress(OSError):
        click.echo(line, err=True)


def _usage_sentence(error: click.ClickException) -> str:
    """One sentence for what click found wrong with the command line."""
    if isinstance(error, click.NoSuchOption):
        known = [name for parameter in error.ctx.command.params for name in parameter.opts] if error.ctx else []
        return f"no option '{error.option_name}'{meant(error.option_name, known, synonyms.OPTIONS)}"
    message = error.format_message().rstrip(".").replace(". ", "; ")
    return message[:1].lower() + message[1:]


def _silence_standard_output() -> None:
    """Give the interpreter's last flush somewhere to go after the reader has left."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _run(arguments: Sequence[str] | None) -> int:
    returned = root.main(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    if sys.stdout is not None:
        sys.stdout.flush()
    return returned if isinstance(returned, int) else 0


def _bad_input(error: Exception) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
    elif isinstance(error, click.ClickException):
        _complain(_usage_sentence(error))
    elif isinstance(error, OSError):
        _silence_standard_output()
        place = f" '{error.filename}'" if error.filename else ""
        _complain(f"cannot read or write{place}: {error.strerror or error}")
    else:
        _complain(str(error))
    return BAD_INPUT


class InterruptWatch:
    """Remembers Ctrl-C: a library that is being imported may turn the interruption into some other exception."""

    def __init__(self) -> None:
        self.interrupted = False

    def __call__(self, _signal: int, _frame: object) -> None:
        self.interrupted = True
        raise KeyboardInterrupt


def _exit_code(arguments: Sequence[str] | None, watch: InterruptWatch) -> int:
    try:
        return _run(arguments)
    except (Interrupted, KeyboardInterrupt, click.Abort):
        return _interrupted()
    except (BrokenPipeError, ReaderLeft):
        _silence_standard_output()
        return 0
    except (click.ClickException, VllmOptError, OSError) as error:
        return _bad_input(error)
    except Exception as error:
        if watch.interrupted:
            return _interrupted()
        if os.environ.get("VLLM_OPT_DEBUG"):
            raise
        _complain(f"sorry, this is a fault of vllm-opt ({type(error).__name__}); {ISSUE_HINT}")
        return PROGRAM_FAULT


def _interrupted() -> int:
    _say(f"{PROGRAM}: interrupted")
    return INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing but an exit code leaves this function.

    Without `arguments` this is the program itself. Once its answer is out a late Ctrl-C no longer counts, and an
    interrupted interpreter leaves at once, because its own shutdown would turn 130 into a death by signal.
    """
    watch = InterruptWatch()
    if arguments is not None:
        return _exit_code(arguments, watch)
    signal.signal(signal.SIGINT, watch)
    code = _exit_code(arguments, watch)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if code == INTERRUPTED:
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
