"""The files that people have: what is found in each kind, with its model, release, GPUs, and what nobody filled in."""

from pathlib import Path

import pytest

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.files.paths import files_of
from vllm_opt.optimizer.serve_lines.files.sources import SourceFile, kind_of, read_text
from vllm_opt.profiles.errors import InvalidRequest


def read(name: str, text: str, folder: Path | None = None) -> SourceFile:
    return read_text(text, name, folder or Path())


def only(name: str, text: str) -> ServeCommand:
    source = read(name, text)
    assert len(source.commands) == 1, source
    return source.commands[0]


def texts(command: ServeCommand) -> list[str]:
    return [word.text for word in command.arguments]


POD = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {LENGTH: "4096"}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: chat}
spec:
  template:
    spec:
      containers:
      - name: server
        image: vllm/vllm-openai@sha256:00ff
        env:
        - {name: MODEL_ID, value: org/m}
        - {name: SAME, value: $(MODEL_ID)}
        - {name: SECRET, valueFrom: {secretKeyRef: {name: a, key: b}}}
        envFrom: [{configMapRef: {name: settings}}]
        args: ["--model=$(SAME)", "--max-model-len", "$(LENGTH)", "--api-key=$(SECRET)", "--seed=$$(x)"]
        resources: {limits: {nvidia.com/gpu: "2"}}
---
kind: Secret
stringData: {a: {{ token }}}
---
kind: [broken
"""


def test_kubernetes_fills_in_what_the_file_says() -> None:
    source = read("a.yaml", POD)
    (command,) = source.commands
    assert texts(command) == [
        "--model=org/m", "--max-model-len", "4096", "--api-key=$(SECRET)", "--seed=$(x)",
    ]  # fmt: skip
    assert [word.unresolved for word in command.arguments if word.unresolved] == [("$(SECRET)",)]
    assert (command.gpu_count, command.unversioned, command.place) == (2, True, "container 'server' of 'chat'")
    assert not any(word.editable for word in command.arguments if word.text != "--max-model-len")
    assert len(source.unread) == 1
    assert "line 27" in source.unread[0][1]


COMPOSE = """\
x-common: &common
  image: ${IMAGE:-vllm/vllm-openai:v0.20.0}
  ipc: host
services:
  chat:
    <<: *common
    entrypoint: [bash, -c, 'exec vllm serve $${MODEL} "$$@"', --]
    environment: {MODEL: org/m}
    command: &flags ["--port", "${PORT:-8000}", "--seed=${SEED}", "--max-model-len", "${LEN}"]
  other:
    <<: *common
    command: *flags
"""


def test_compose_fills_in_follows_anchors_and_hands_arguments_to_the_entry_point(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("export LEN='4096'\n")
    first, second = read("compose.yml", COMPOSE, tmp_path).commands
    assert texts(first) == ["org/m", "--port", "8000", "--seed=${SEED}", "--max-model-len", "4096"]
    assert texts(second) == texts(first)[1:]
    assert (first.image_version, first.shared_memory, second.place) == ("0.20.0", True, "service 'other'")
    assert not any(word.editable for word in (*first.arguments, *second.arguments))


def test_anchors_that_stand_for_billions_are_refused() -> None:
    lines = ["a0: &a0 {x: vllm serve m}", *(f"a{n}: &a{n} {{{', '.join(f'k{k}: *a{n - 1}' for k in range(9))}}}"
                                           for n in range(1, 12))]  # fmt: skip
    source = read("a.yaml", "\n".join(lines) + "\nspec: {containers: [*a11]}\nkind: Pod\n")
    assert source.commands == ()
    assert "stand for more than" in source.unread[0][1]


@pytest.mark.parametrize(
    ("name", "text", "expected", "facts"),
    [
        (
            "lws.yaml",
            "kind: LeaderWorkerSet\nspec:\n  leaderWorkerTemplate:\n    size: 2\n    leaderTemplate:\n      spec:\n"
            "        containers:\n        - name: l\n          image: vllm/vllm-openai:v0.20.0\n"
            "          command: [sh, -c, 'bash multi-node-serving.sh leader; vllm serve org/m -tp 8 -pp 2']\n"
            "          resources: {limits: {nvidia.com/gpu: '8'}}\n",
            ["org/m", "-tp", "8", "-pp", "2"],
            {"nodes": 2, "starts_ray": True, "gpu_count": 8},
        ),
        (
            "kserve.yaml",
            "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: x}\nspec:\n  predictor:\n"
            "    model:\n      modelFormat: {name: huggingface}\n      args: [--model_name=a, --max-model-len=8]\n"
            "      storageUri: hf://org/m\n      resources: {limits: {nvidia.com/gpu: '1'}}\n",
            ["--model", "org/m", "--model_name=a", "--max-model-len=8"],
            {"entry": "kserve", "gpu_count": 1},
        ),
        (
            "llmisvc.yaml",
            "apiVersion: serving.kserve.io/v1alpha1\nkind: LLMInferenceService\nmetadata: {name: x}\nspec:\n"
            "  model: {uri: 'hf://org/m'}\n  parallelism: {tensor: 2}\n  template:\n    containers:\n    - name: main\n"
            "      env: [{name: VLLM_ADDITIONAL_ARGS, value: '--max-num-seqs 8'}]\n",
            ["org/m", "--tensor-parallel-size", "2", "--max-num-seqs", "8"],
            {"place": "server of 'x'"},
        ),
        (
            "kubeai.yaml",
            "apiVersion: kubeai.org/v1\nkind: Model\nmetadata: {name: x}\nspec:\n  url: hf://org/m\n  engine: VLLM\n"
            "  args: [--max-model-len=8]\n  resourceProfile: nvidia-gpu-l4:2\n",
            ["org/m", "--max-model-len=8"],
            {"gpu": "l4", "gpu_count": 2},
        ),
        (
            "values.yaml",
            "servingEngineSpec:\n  modelSpec:\n  - name: a\n    repository: vllm/vllm-openai\n    tag: v0.20.0\n"
            "    modelURL: org/m\n    requestGPU: 2\n    vllmConfig:\n      tensorParallelSize: 2\n"
            "      enablePrefixCaching: false\n      extraArgs: ['--seed=1']\n",
            ["org/m", "--tensor-parallel-size", "2", "--no-enable-prefix-caching", "--seed=1"],
            {"image_version": "0.20.0", "gpu_count": 2},
        ),
        (
            "values.yaml",
            "modelArtifacts: {uri: 'hf://org/m'}\ndecode:\n  parallelism: {tensor: 4}\n  containers:\n  - name: vllm\n"
            "    image: ghcr.io/llm-d/llm-d:v0.2.0\n    modelCommand: vllmServe\n    args: [--enforce-eager]\n"
            "prefill: {create: false}\n",
            ["org/m", "--tensor-parallel-size", "4", "--enforce-eager"],
            {"place": "decode container"},
        ),
        (
            "values.yaml",
            "modelArtifacts: {uri: 'hf://org/m'}\ndecode:\n  containers:\n  - name: vllm\n    modelCommand: custom\n"
            "    command: [vllm, serve, org/m]\n    args: [--enforce-eager]\n"
            "    resources: {limits: {nvidia.com/gpu: '2'}}\n"
            "prefill:\n  create: false\n  containers: [{command: [vllm, serve, org/never]}]\n",
            ["org/m", "--enforce-eager"],
            {"place": "decode container", "gpu_count": 2},
        ),
        (
            "sky.yaml",
            "resources: {accelerators: 'H100:2'}\nenvs: {M: org/m}\nsetup: pip install vllm==0.20.0\nrun: |\n"
            "  vllm serve $M -tp $SKYPILOT_NUM_GPUS_PER_NODE\n",
            ["org/m", "-tp", "2"],
            {"gpu": "H100", "gpu_count": 2, "image_version": "0.20.0", "line": 5},
        ),
        (
            "Dockerfile.gpu",
            "ARG V=0.20.0\nFROM vllm/vllm-openai:v${V}\nENV M=org/m\nENTRYPOINT [\"vllm\", \"serve\"]\n"
            'CMD ["org/m", "--port", "1"]\n',
            ["org/m", "--port", "1"],
            {"image_version": "0.20.0", "environment": {"V": "0.20.0", "M": "org/m"}},
        ),
        (
            "Dockerfile",
            "FROM x/vllm:v0.20.0\nENV M=org/m\nCMD vllm serve $M \\\n  --port 1\n",
            ["org/m", "--port", "1"],
            {"image_version": "0.20.0"},
        ),
        (
            "vllm.service",
            "[Service]\nEnvironment=M=org/m \"X=a b\"\nExecStart=/opt/bin/vllm serve ${M} \\\n  --port 1 $MORE\n",
            ["org/m", "--port", "1", "$MORE"],
            {"environment": {"M": "org/m", "X": "a b"}},
        ),
        (
            "README.md",
            "Start:\n\n1. so\n   ```console\n   $ vllm serve org/m \\\n       --port 1\n   ```\n",
            ["org/m", "--port", "1"],
            {"line": 5},
        ),
        (
            "serve.py",
            "import subprocess\nM = 'org/m'\nsubprocess.run(['vllm', 'serve', M, '--port', str(1), *extra])\n",
            ["org/m", "--port", "1", "*extra"],
            {"line": 3},
        ),
        (
            "flags.yaml",
            "model: org/m\nmax-model-len: 8\nenforce_eager: true\ncompilation-config: {mode: 3}\n",
            ["org/m", "--max-model-len", "8", "--enforce_eager", "--compilation-config", "{mode: 3}"],
            {"entry": "config"},
        ),
        (
            "args.tpl",
            '{{- define "x" -}}\n- "--model={{ .Values.m }}"\n{{- if .Values.e }}\n- --enforce-eager\n{{- end }}\n'
            "- --max-model-len=8\n{{- end }}\n",
            ["--model={{ .Values.m }}", "--enforce-eager", "--max-model-len=8"],
            {"place": "list of arguments"},
        ),
        (
            "unit.sh",
            "cat > /etc/systemd/system/v.service <<'EOF'\n[Service]\nExecStart=vllm serve org/m --port 1\nEOF\n",
            ["org/m", "--port", "1"],
            {"line": 3, "place": "unit"},
        ),
    ],
)  # fmt: skip
def test_kinds_of_files(name: str, text: str, expected: list[str], facts: dict[str, object]) -> None:
    command = only(name, text)
    assert texts(command) == expected
    assert {key: getattr(command, key) for key in facts} == facts


@pytest.mark.parametrize(
    "text",
    [
        "name: a\nmodel: {path: x, container: vllm}\nresources: {gpus: 4}\nfrontend: {type: y}\n",
        "replicaCount: 1\nimage: {repository: r, tag: t}\nservice: {type: ClusterIP}\n",
        "port: 8000\n",
        "model: gpt\ntemperature: 0.5\nmessages: [{role: user}]\nmax_tokens: 5\n",
    ],
)
def test_yaml_that_is_no_file_of_flags(text: str) -> None:
    assert read("a.yaml", text).commands == ()


def test_blocks_of_flags_in_the_file_of_another_launcher() -> None:
    text = "engine: vllm\nbackend:\n  vllm_config:\n    prefill: {tensor-parallel-size: 2, max_model_len: 8}\n"
    command = only("recipe.yaml", text)
    assert command.place == "flags under 'backend.vllm_config.prefill'"
    assert any(word.many for word in command.arguments)
    assert read("recipe.yaml", text.replace("vllm_config", "sglang_config")).commands == ()


def test_a_template_between_the_items_may_add_any() -> None:
    text = "kind: Pod\nspec:\n  containers:\n  - image: vllm/vllm-openai:v0.20.0\n    args:\n    - --model=m\n"
    text += "    {{- toYaml .Values.extra | nindent 4 }}\n    ports: []\n"
    assert only("pod.yaml", text).arguments[-1].many


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.yml", "yaml"), ("x.sh.j2", "shell"), ("c.yaml.tmpl", "yaml"), ("Containerfile", "dockerfile"),
        ("a.Dockerfile", "dockerfile"), ("run", "shell"), ("a.container", "unit"), ("A.MD", "markdown"),
    ],
)  # fmt: skip
def test_the_name_says_the_kind(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_folders_and_patterns(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "node_modules").mkdir()
    for name in ("deploy/a.yaml", "deploy/b.sh", "node_modules/c.sh", "d.png", "e.md"):
        (tmp_path / name).write_text("vllm serve m")
    (tmp_path / "deploy" / "other.yaml").write_text("a: 1")
    found, searched = files_of([str(tmp_path)])
    assert [file.relative_to(tmp_path).as_posix() for file in found] == ["e.md", "deploy/a.yaml", "deploy/b.sh"]
    assert searched
    found, _ = files_of([str(tmp_path / "**" / "*.sh")], exclude=["*/node_modules/*"])
    assert [file.name for file in found] == ["b.sh"]
    with pytest.raises(InvalidRequest, match="No such file"):
        files_of([str(tmp_path / "none.sh")])
    with pytest.raises(InvalidRequest, match="no file matches"):
        files_of([str(tmp_path / "*.toml")])


@pytest.mark.parametrize("name", ["a.yaml", "a.md", "a.py", "a.service", "Dockerfile", "a.sh", "a.tpl"])
@pytest.mark.parametrize(
    "text",
    ["", "\x00", "vllm serve '", "```\nvllm serve '\n```", "CMD [\"vllm\", \"serve\"", "{{", "ExecStart=\\", "a: &a *a",
     "- - - -", "\ufeffvllm", "x" * 10_000, "services: {a: {command: {b: c}, image: [1]}}", "[[[[" * 500],
)  # fmt: skip
def test_hostile_files_are_read_or_noted(name: str, text: str) -> None:
    source = read(name, text)
    assert all("\n" not in reason for _, reason in source.unread)


def test_templates_inside_a_script_of_a_manifest_stay_unknown() -> None:
    text = (
        "kind: Pod\nspec:\n  containers:\n  - image: vllm/vllm-openai:v0.20.0\n    command: [bash, -c]\n    args:\n"
        '    - |\n      eval "vllm serve m --port 1 \\\n'
        "        {{- if .Values.tp }} -tp {{ .Values.tp }}{{- end }} \\\n"
        '        --seed {{ or .Values.seed "{{ 1 }}" }} $EXTRA"\n'
    )
    words = only("pod.yaml", text).arguments
    assert [word.text for word in words[:3]] == ["m", "--port", "1"]
    assert not [word.text for word in words if "{{" in word.text and not word.unresolved]


def test_a_tag_that_counts_something_else_is_no_release() -> None:
    values = (
        "servingEngineSpec: {modelSpec: [{name: a, repository: lmcache/vllm-openai, tag: v0.3.9, modelURL: org/m}]}"
    )
    command = only("values.yaml", values)
    assert (command.image_version, command.unversioned) == (None, True)


def test_items_that_a_template_may_leave_out_are_not_edited() -> None:
    text = (
        "kind: Pod\nspec:\n  containers:\n  - image: vllm/vllm-openai:v0.33.0\n    args:\n    - --model=m\n"
        "    {{- if .Values.a }}\n    - --seed=1\n    {{- else }}\n    - --seed=2\n    {{- end }}\n    - --port=1\n"
    )
    words = only("pod.yaml", text).arguments
    assert [(word.text, word.editable) for word in words] == [
        ("--model=m", True), ("--seed=1", False), ("--seed=2", False), ("--port=1", True),
    ]  # fmt: skip
