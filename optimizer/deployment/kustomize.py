"""A Kustomize base: the manifests of `kubernetes/` but for those that need further operators."""

from collections.abc import Mapping

from vllm_opt.optimizer.deployment.yaml_text import GENERATED, yaml_text

BASE = "kustomize/base"


def kustomize_files(manifests: Mapping[str, str], name: str) -> dict[str, str]:
    """A folder of its own with the manifests beside their list: Kustomize reads no file above its folder."""
    own = {
        path.removeprefix("kubernetes/"): text
        for path, text in manifests.items()
        if not path.startswith("kubernetes/optional/")
    }
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(own),
        "labels": [{"pairs": {"app.kubernetes.io/part-of": name}, "includeSelectors": False}],
    }
    comments = (
        f"kubectl apply -k {BASE}, or the base of your own overlay (namespace, storage class, node pools).",
        GENERATED,
    )
    return {
        f"{BASE}/kustomization.yaml": yaml_text([document], comments),
        **{f"{BASE}/{path}": text for path, text in own.items()},
    }
