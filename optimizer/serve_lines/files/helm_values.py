"""Values of charts that start vLLM: production-stack, llm-d-modelservice, KubeAI's catalogue.

Sources: https://github.com/vllm-project/production-stack/tree/main/helm, https://github.com/llm-d-incubation/
llm-d-modelservice/tree/main/charts, https://github.com/substratusai/kubeai/tree/main/charts/models.
"""

from collections.abc import Iterator
from dataclasses import replace

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.files.containers_in_yaml import YamlContainer
from vllm_opt.optimizer.serve_lines.files.filling_in import known_only, kubernetes_filler
from vllm_opt.optimizer.serve_lines.files.kubernetes import (
    Pod,
    container_environment,
    container_servers,
    gpus_asked,
    product_name,
)
from vllm_opt.optimizer.serve_lines.files.runtime_config import config_words, image_of, model_word
from vllm_opt.optimizer.serve_lines.files.serving_kinds import kubeai_model
from vllm_opt.optimizer.serve_lines.files.yaml_tree import EMPTY, Document, Node
from vllm_opt.optimizer.serve_lines.images import image_hardware, image_version, is_unversioned
from vllm_opt.optimizer.serve_lines.shell.reading import Reading
from vllm_opt.optimizer.serve_lines.words import Word


def value_servers(document: Document) -> Iterator[Reading]:
    """What the values of a known chart start; nothing for any other file."""
    for spec in document.items(document.at(document.top, "servingEngineSpec", "modelSpec")):
        yield _model_spec(document, spec)
    uri = served_artifacts(document)
    if uri:
        for role in ("decode", "prefill"):
            yield from _model_service(document, role, uri)
    catalogue = document.members(document.at(document.top, "catalog") or document.at(document.top, "models", "catalog"))
    for name, model in catalogue.items():
        if document.text_at(model, "enabled") != "false":
            yield kubeai_model(document, model, name)


def served_artifacts(document: Document) -> str:
    """What llm-d-modelservice serves; the containers of such a file are those of its roles and nothing else's."""
    return document.text_at(document.top, "modelArtifacts", "uri")


def _model_spec(document: Document, spec: Node) -> Reading:
    url, line = document.text_at(spec, "modelURL"), document.file.line(spec.start)
    if not url:
        return Reading()
    config = document.at(spec, "vllmConfig") or EMPTY
    image = image_of(document, spec)
    asked = document.text_at(spec, "requestGPU")
    environment = {
        document.text_at(item, "name"): document.text_at(item, "value")
        for item in document.items(document.at(spec, "env"))
    }
    return Reading([
        ServeCommand(
            arguments=(model_word(url, line), *config_words(document, config), *config_words(document, spec)),
            entry="serve",
            environment=environment, text=document.file.text, line=line,
            place=f"model '{document.text_at(spec, 'name')}'", image_version=image_version(image),
            hardware=image_hardware(image), gpu=_gpu_of_terms(document, spec), unversioned=is_unversioned(image),
            gpu_count=int(asked) if asked.isdecimal() and 0 < int(asked[:5]) < 10_000 else None,
            starts_ray=document.at(spec, "raySpec") is not None,
            in_container=True, leading=("vllm", "serve"),
        )
    ])  # fmt: skip


def _gpu_of_terms(document: Document, spec: Node) -> str | None:
    for term in document.items(document.at(spec, "nodeSelectorTerms")):
        for expression in document.items(document.at(term, "matchExpressions")):
            values = document.items(document.at(expression, "values"))
            if document.text_at(expression, "key") == "nvidia.com/gpu.product" and len(values) == 1:
                return product_name(document.scalar(values[0]))
    return None


def _model_service(document: Document, role: str, uri: str) -> Iterator[Reading]:
    part = document.at(document.top, role) or EMPTY
    if document.text_at(part, "create") == "false" or document.text_at(part, "replicas") == "0":
        return
    parallel = document.members(document.at(part, "parallelism"))
    for container in document.items(document.at(part, "containers")):
        start = document.text_at(container, "modelCommand")
        image, line = document.text_at(container, "image"), document.file.line(container.start)
        environment = container_environment(document, container, {})
        if start == "custom" or (not start and document.at(container, "command") is not None):
            reading = container_servers(document, container, {}, Pod())
            reading.commands = [replace(command, place=f"{role} container") for command in reading.commands]
            yield reading
            continue
        if start not in ("vllmServe", "imageDefault"):
            continue
        words = [model_word(uri, line)]
        for key in ("tensor", "data"):
            size = document.scalar(parallel.get(key))
            if size:
                words += [Word(text, -1, -1, line, literal=False) for text in (f"--{key}-parallel-size", size)]
        reader = YamlContainer(document, kubernetes_filler(environment), known_only(environment))
        given = reader.words(document.at(container, "args")) or []
        yield Reading([
            ServeCommand(
                arguments=(*words, *given), entry="serve", environment=known_only(environment),
                text=document.file.text, line=line, place=f"{role} container", image_version=image_version(image),
                hardware=image_hardware(image), gpu_count=gpus_asked(document, document.at(container, "resources")),
                in_list=True, in_container=True, leading=("vllm", "serve"),
                arguments_end=given[-1].end if given and given[-1].end > 0 else 0,
            )
        ])  # fmt: skip
