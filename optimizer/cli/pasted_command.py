"""`estimate "vllm serve …"`: a whole command as it is pasted, instead of flags."""

import click
from click.core import ParameterSource

from vllm_opt.profiles.errors import InvalidRequest


def read_pasted_command(context: click.Context) -> tuple[str, ...]:
    """Put the flags of a pasted command where typed options stand, and return what to note about it.

    Options that are typed beside the command win.

    Raises:
        InvalidRequest: the text starts no server, or starts several.
    """
    text = context.params.get("model_argument")
    if text is None or not any(character.isspace() for character in text.strip()):
        return ()
    from vllm_opt.optimizer.estimation.pasted_line import fields_of_line

    fields, notes = fields_of_line(text, context.params.get("vllm_version"), context.params.get("engine"))
    context.params["model_argument"] = None
    for name, value in fields.items():
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            context.params[name] = value
            context.set_parameter_source(name, ParameterSource.COMMANDLINE)
    if context.params.get("model") is None:
        raise InvalidRequest("the command names no model; add --model MODEL")
    return notes
