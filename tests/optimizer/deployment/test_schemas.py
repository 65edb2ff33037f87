"""Every file of every kind of deployment against the schemas of the programs that read it."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from deployments import CASES, made
from kubernetes_validate import utils as kubernetes_schemas
from referencing import Registry, Resource

from vllm_opt.optimizer.deployment.files import EMITS, files_of

SCHEMAS = Path(__file__).parents[2] / "data" / "schemas"
KUBERNETES = "1.34"
CUSTOM = {
    "LeaderWorkerSet": "leaderworkerset",
    "InferenceService": "inferenceservice",
    "LLMInferenceService": "llminferenceservice",
    "ScaledObject": "scaledobject",
    "ServiceMonitor": "servicemonitor",
}
OWN_KEYS = {"minReplicas", "maxReplicas", "deploymentStrategy"}
"""What KServe adds to a pod's spec."""


@cache
def validator(name: str) -> Any:
    """The validator of one vendored schema."""
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return jsonschema.Draft7Validator(schema)


@cache
def definitions() -> tuple[str, Any]:
    """The folder of Kubernetes' own schemas of that release, and what they all refer to."""
    version = next(each for each in kubernetes_schemas.all_versions() if each.startswith(KUBERNETES))
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    shared = Resource.from_contents(kubernetes_schemas.schema_contents(f"{folder}/_definitions.json", version))
    return folder, shared @ Registry()


@cache
def kubernetes_validator(kind: str, api_version: str) -> Any:
    """The validator of a built-in kind; loaded once, as each one refers to some megabytes."""
    folder, registry = definitions()
    name = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = kubernetes_schemas.schema_contents(f"{folder}/{kind.lower()}-{name}.json", KUBERNETES)
    return jsonschema.Draft202012Validator(schema, registry=Resource.from_contents(schema) @ registry)


def check_kubernetes(document: dict[str, Any]) -> None:
    """Validate strictly: an unknown key is an error."""
    kubernetes_validator(document["kind"], document["apiVersion"]).validate(document)


def pods_of(node: Any) -> list[dict[str, Any]]:
    """Every pod's spec below a node."""
    if isinstance(node, list):
        return [found for item in node for found in pods_of(item)]
    if not isinstance(node, dict):
        return []
    if "containers" in node:
        return [{key: value for key, value in node.items() if key not in OWN_KEYS}]
    return [found for value in node.values() for found in pods_of(value)]


def check_manifest(document: dict[str, Any]) -> None:
    """A built-in kind by Kubernetes' schema; a custom one by its own, and its pods by Kubernetes'."""
    kind = document["kind"]
    if kind == "Kustomization":
        assert set(document) == {"apiVersion", "kind", "resources", "labels"}
        return
    if kind not in CUSTOM:
        check_kubernetes(document)
        return
    validator(CUSTOM[kind]).validate(document)
    for spec in pods_of(document["spec"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
        check_kubernetes(pod)


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_file_is_what_its_reader_takes(name: str) -> None:
    files = files_of(made(name), tuple(EMITS))
    for path, text in files.items():
        folder = path.partition("/")[0]
        if not path.endswith(".yaml"):
            continue
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
        assert documents, path
        if folder == "compose":
            validator("compose-spec").validate(documents[0])
        elif path == "helm/production-stack.yaml":
            validator("production-stack").validate(documents[0])
        elif folder == "helm":
            validator("llm-d-modelservice").validate(documents[0])
        else:
            for document in documents:
                check_manifest(document)


@pytest.mark.parametrize("name", sorted(CASES))
def test_names_fit_dns_and_are_unique(name: str) -> None:
    files = files_of(made(name), ("kubernetes",))
    found = [
        (document["kind"], document["metadata"]["name"])
        for path, text in files.items()
        if path.startswith("kubernetes/") and "optional" not in path
        for document in yaml.safe_load_all(text)
    ]
    assert len(set(found)) == len(found)
    assert all(len(label) <= 63 and label[0].isalpha() for _, label in found)


@pytest.mark.parametrize("name", sorted(CASES))
def test_kustomize_finds_every_resource(name: str) -> None:
    files = files_of(made(name), ("kustomize",))
    listed = yaml.safe_load(files["kustomize/base/kustomization.yaml"])["resources"]
    there = {path.removeprefix("kustomize/base/") for path in files if path.startswith("kustomize/base/")}
    assert {*listed, "kustomization.yaml"} == there


def test_the_schemas_refuse_what_is_wrong() -> None:
    files = files_of(made("over-two-nodes"), ("kubernetes", "kserve"))
    group = next(
        document
        for path, text in files.items()
        if path.startswith("kubernetes/v")
        for document in yaml.safe_load_all(text)
        if document["kind"] == "LeaderWorkerSet"
    )
    group["spec"]["leaderWorkerTemplate"]["sizes"] = 2
    with pytest.raises(jsonschema.ValidationError, match="sizes"):
        check_manifest(group)
    del group["spec"]["leaderWorkerTemplate"]["sizes"]
    group["spec"]["leaderWorkerTemplate"]["leaderTemplate"]["spec"]["containers"][0]["imageTag"] = "x"
    with pytest.raises(jsonschema.ValidationError, match="imageTag"):
        check_manifest(group)
