"""Reading a model's config.json from Hugging Face; needs the extra `hub`."""

import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vllm_opt.profiles.configs.reader import read_config
from vllm_opt.profiles.errors import InvalidRequest

_UNREACHABLE = "Hugging Face cannot be reached: check the network, or give the path of its config.json"
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def read_hub_config(model_id: str) -> dict[str, Any]:
    """Return the `config.json` of `model_id`, with the `hf_quant_config.json` of older ModelOpt checkpoints.

    Nothing in the repository is executed. Raises InvalidRequest when huggingface_hub is not installed, the machine is
    offline, or the repository does not exist, is gated or holds no config.json.
    """
    path = _download(model_id, "config.json")
    if path is None:
        raise InvalidRequest(f"{model_id} holds no config.json on Hugging Face, so it cannot be sized")
    config = read_config(path)
    if "quantization_config" not in config:
        beside = _download(model_id, "hf_quant_config.json")
        if beside is not None:
            config["quantization_config"] = read_config(beside)
    return config


def _download(model_id: str, file: str) -> Path | None:
    """The local copy of one small file, or None where the repository has no such file."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
        )
    except ImportError:
        raise InvalidRequest(
            "Hugging Face cannot be asked: install vllm-opt[hub], or give the path of its config.json"
        ) from None
    if not _endpoint_resolves():
        raise InvalidRequest(_UNREACHABLE)
    try:
        return Path(hf_hub_download(model_id, file))
    except LocalEntryNotFoundError:
        if file != "config.json":
            return None
        raise InvalidRequest(_UNREACHABLE) from None
    except EntryNotFoundError:
        return None
    except GatedRepoError:
        raise InvalidRequest(
            "it is gated on Hugging Face: accept its licence and log in with hf auth login, "
            "or give the path of its config.json"
        ) from None
    except RepositoryNotFoundError:
        raise InvalidRequest("Hugging Face knows no such public repository") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0][:200]
        raise InvalidRequest(f"Hugging Face did not answer as expected ({reason})") from None


def _endpoint_resolves() -> bool:
    """Whether the hub's host name resolves: without it huggingface_hub would retry for half a minute.

    Behind a proxy, or offline by choice (where its cache may answer), the question is left to huggingface_hub.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or any(os.environ.get(name) for name in _PROXIES):
        return True
    host = urlsplit(constants.ENDPOINT).hostname or ""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
