"""Custom resources that start vLLM: KServe InferenceService and LLMInferenceService, KubeAI Model, VLLMRuntime.

Sources: https://kserve.github.io/website/docs (Hugging Face runtime, LLMInferenceService),
https://www.kubeai.org/reference/kubernetes-api/, https://docs.vllm.ai/projects/production-stack (VLLMRuntime).
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.files.containers_in_yaml import YamlContainer
from vllm_opt.optimizer.serve_lines.files.filling_in import known_only, kubernetes_filler
from vllm_opt.optimizer.serve_lines.files.kubernetes import (
    ConfigMaps,
    Pod,
    container_environment,
    gpus_asked,
    in_pod,
    pod_servers,
)
from vllm_opt.optimizer.serve_lines.files.runtime_config import config_words, image_of, model_word
from vllm_opt.optimizer.serve_lines.files.yaml_tree import EMPTY, Document, Node
from vllm_opt.optimizer.serve_lines.images import image_version
from vllm_opt.optimizer.serve_lines.shell.plain_words import placed_words
from vllm_opt.optimizer.serve_lines.shell.reading import Reading
from vllm_opt.optimizer.serve_lines.words import Word

KSERVE_FLAGS = (
    "model_name", "model_id", "model_dir", "model_revision", "tokenizer_revision", "backend", "task", "max_length",
    "tensor_input_names", "return_token_type_ids", "return_probabilities", "return_raw_logits", "http_port",
    "grpc_port", "workers", "max_threads", "max_asyncio_workers", "enable_grpc", "enable_docs_url",
    "enable_latency_logging", "configure_logging", "log_config_file", "access_log_format", "predictor_host",
    "predictor_protocol",
    "predictor_use_ssl", "predictor_request_timeout_seconds", "disable_lower_case", "disable_special_tokens",
    "trust_remote_code", "dtype", "disable_log_requests", "disable_log_stats",
)  # fmt: skip
"""Arguments of KServe's `huggingfaceserver`, which hands the others to vLLM."""
_PROFILE = re.compile(r"(?:nvidia-gpu-|amd-gpu-)?(?P<gpu>[\w.-]+?)(?::(?P<count>\d{1,3}))?$")


def special_servers(document: Document, kind: str, group: str, maps: ConfigMaps) -> Iterator[Reading] | None:
    """What a custom resource starts; None for a kind without rules of its own."""
    if kind == "InferenceService":
        return _inference_service(document, maps)
    if kind in ("LLMInferenceService", "LLMInferenceServiceConfig"):
        return _llm_inference_service(document, maps)
    if kind == "Model" and group.startswith("kubeai"):
        return iter([kubeai_model(document, document.at(document.top, "spec") or EMPTY, _name(document))])
    if kind == "VLLMRuntime":
        return iter([_vllm_runtime(document)])
    return None


def _name(document: Document) -> str:
    return document.text_at(document.top, "metadata", "name")


def _inference_service(document: Document, maps: ConfigMaps) -> Iterator[Reading]:
    predictor = document.at(document.top, "spec", "predictor") or EMPTY
    model = document.at(predictor, "model")
    if model is not None and document.text_at(model, "modelFormat", "name") in ("huggingface", "vLLM", "vllm"):
        yield _hugging_face_runtime(document, predictor, model, maps)
    yield from pod_servers(document, document.top, maps, Pod())


def _hugging_face_runtime(document: Document, predictor: Node, model: Node, maps: ConfigMaps) -> Reading:
    environment = container_environment(document, model, maps)
    container = YamlContainer(document, kubernetes_filler(environment), known_only(environment))
    node = document.at(model, "args")
    words = container.words(node) or []
    names = {word.text.partition("=")[0].lstrip("-").replace("-", "_"): word.text.partition("=")[2] for word in words}
    if names.get("backend") == "huggingface":
        return Reading()
    uri = names.get("model_id") or document.text_at(model, "storageUri").removeprefix("hf://")
    line = document.file.line(model.start)
    named = [] if not uri else [Word("--model", -1, -1, line, literal=False), Word(uri, -1, -1, line, literal=False)]
    command = ServeCommand(
        arguments=(*named, *words), entry="kserve", environment=known_only(environment), text=document.file.text,
        line=words[0].line if words else line, in_list=node is not None and node.kind == "list",
        arguments_end=words[-1].end if words and words[-1].end > 0 else 0, leading=("vllm", "serve"),
        wrapper_flags=KSERVE_FLAGS,
    )  # fmt: skip
    pod = Pod(_name(document), document.text_at(predictor, "nodeSelector", "nvidia.com/gpu.product") or None)
    placed = replace(in_pod(document, model, pod, command), place=f"predictor of '{pod.name}'", shared_memory=None)
    return Reading([placed])


def _llm_inference_service(document: Document, maps: ConfigMaps) -> Iterator[Reading]:
    spec = document.at(document.top, "spec")
    for part, node in (("", spec), ("prefill ", document.at(spec, "prefill"))):
        template = document.at(node, "template")
        first = next(iter(document.items(document.at(template, "containers"))), None)
        own = first is not None and ({"command", "args"} & set(document.members(first)))
        if node is None or own:
            continue
        uri = document.text_at(spec, "model", "uri")
        if uri:
            yield _llm_server(document, node, first, uri, maps, part)
    yield from pod_servers(document, document.top, maps, Pod())


def _llm_server(
    document: Document, node: Node, container: Node | None, uri: str, maps: ConfigMaps, part: str
) -> Reading:
    line = document.file.line(node.start)
    parallel = document.members(document.at(node, "parallelism"))
    words = [model_word(uri, line)]
    for key, flag in (("tensor", "tensor"), ("pipeline", "pipeline"), ("data", "data")):
        size = document.scalar(parallel.get(key))
        if size:
            words += [Word(text, -1, -1, line, literal=False) for text in (f"--{flag}-parallel-size", size)]
    if document.scalar(parallel.get("expert")) == "true":
        words.append(Word("--enable-expert-parallel", -1, -1, line, literal=False))
    environment = container_environment(document, container, maps) if container is not None else {}
    extra = next(
        (
            document.at(item, "value")
            for item in document.items(document.at(container, "env"))
            if document.text_at(item, "name") == "VLLM_ADDITIONAL_ARGS"
        ),
        None,
    )
    if extra is not None and extra.kind == "scalar":
        words += placed_words(kubernetes_filler(environment)(document.placed(extra), False), known_only(environment))
    image = document.text_at(container, "image")
    command = ServeCommand(
        arguments=tuple(words), entry="serve", environment=known_only(environment), text=document.file.text, line=line,
        leading=("vllm", "serve"), image_version=image_version(image), in_container=True,
    )  # fmt: skip
    if container is not None:
        command = in_pod(document, container, Pod(_name(document)), command)
    return Reading([replace(command, place=f"{part}server of '{_name(document)}'", shared_memory=None)])


def kubeai_model(document: Document, spec: Node, name: str) -> Reading:
    """A KubeAI model, as a resource or in the values of its chart."""
    engine, url = document.text_at(spec, "engine"), document.text_at(spec, "url")
    if engine not in ("VLLM", "") or not url or (engine == "" and document.at(spec, "args") is None):
        return Reading()
    line = document.file.line(spec.start)
    node = document.at(spec, "args")
    words = YamlContainer(document, kubernetes_filler({}), {}).words(node) or []
    profile = _PROFILE.match(document.text_at(spec, "resourceProfile"))
    count = profile.group("count") if profile else None
    environment = {key: value.text for key, value in document.members(document.at(spec, "env")).items()}
    return Reading([
        ServeCommand(
            arguments=(model_word(url, line), *words), entry="serve", environment=environment, text=document.file.text,
            line=line, place=f"model '{name}'", gpu=profile.group("gpu") if profile else None,
            gpu_count=int(count) if count else None, in_list=True, in_container=True,
            arguments_end=words[-1].end if words and words[-1].end > 0 else 0, leading=("vllm", "serve"),
        )
    ])  # fmt: skip


def _vllm_runtime(document: Document) -> Reading:
    spec = document.at(document.top, "spec") or EMPTY
    url = document.text_at(spec, "model", "modelURL")
    if not url:
        return Reading()
    line = document.file.line(spec.start)
    config = document.at(spec, "vllmConfig") or EMPTY
    deployment = document.at(spec, "deploymentConfig") or EMPTY
    words = [model_word(url, line), *config_words(document, document.at(spec, "model") or EMPTY, only_limits=True)]
    words += config_words(document, config)
    gpus = document.text_at(deployment, "resources", "gpu")
    return Reading([
        ServeCommand(
            arguments=tuple(words), entry="serve", text=document.file.text, line=line, leading=("vllm", "serve"),
            place=f"runtime '{_name(document)}'", in_container=True,
            image_version=image_version(image_of(document, document.at(deployment, "image") or EMPTY)),
            gpu_count=int(gpus) if gpus.isdecimal() and len(gpus) < 5 else gpus_asked(document, EMPTY),
        )
    ])  # fmt: skip
