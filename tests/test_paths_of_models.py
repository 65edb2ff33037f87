"""A local model's path reaches every output as it came in, and nothing in a folder's name is ever run."""

import contextlib
import io
import json
import shlex
import string
import subprocess
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.serve_lines.shell.shell import serve_commands
from vllm_opt.profiles.catalogues.catalog import Catalog

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 4096,
    "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 128, "num_hidden_layers": 4, "vocab_size": 32000,
    "max_position_embeddings": 8192, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip
NAMES = st.one_of(
    st.text(string.ascii_letters + " -_.$`'\"\\;&|<>(){}[]*?!#:,=%@~^+", min_size=1, max_size=12),
    st.sampled_from(
        ("-dash", "--flag", "Qwen3-8B", "$(id)", "a'b\"c", "#x", "a: b", "- a", "{{x}}", "é漢😀", "%s", "~x")
    ),
).filter(lambda name: name not in (".", "..") and not name.endswith(".json") and name == name.strip())
SEVERAL = settings(
    max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@contextlib.contextmanager
def model_folder(name: str) -> Iterator[Path]:
    """A folder with this name that holds a model, in a working folder of its own."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(CONFIG))
        yield folder


def run(*arguments: str) -> str:
    """What the command writes to standard output; it must be an answer."""
    stream, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(errors):
        code = main(arguments)
    assert code == 0, (arguments, errors.getvalue(), stream.getvalue())
    return stream.getvalue()


def words_of_bash(line: str) -> list[str]:
    """The words that bash makes of a line."""
    script = f"set -- {line}\nprintf '%s\\0' \"$@\""
    found = subprocess.run(["bash", "-c", script], capture_output=True, check=True, timeout=20)
    return found.stdout.decode().split("\0")[:-1]


COMMANDS = {
    "solve": ("solve", "--gpu", "l4", "--quantization", "native", "--target-context", "2048", "--no-explain"),
    "estimate": ("estimate", "--gpu", "l4", "--max-model-len", "2048"),
}


@pytest.mark.parametrize("verb", COMMANDS)
@SEVERAL
@given(name=NAMES)
@example(name="Qwen3-8B")
@example(name="-dash")
def test_a_path_comes_out_as_it_went_in(verb: str, name: str) -> None:
    with model_folder(name) as folder:
        asked = (*COMMANDS[verb], "--model", str(folder))
        words = words_of_bash(run(*asked, "--format", "command"))
        assert words[:3] == ["vllm", "serve", str(folder)]
        assert shlex.split(run(*asked, "--format", "command")) == words
        script = run(*asked, "--format", "env") + "\nprintf '%s' \"$MODEL\""
        shell = subprocess.run(["bash", "-c", script], capture_output=True, check=True, timeout=20)
        assert shell.stdout.decode() == str(folder)
        (service,) = yaml.safe_load(run(*asked, "--format", "compose"))["services"].values()
        (bound,) = [volume for volume in service["volumes"] if isinstance(volume, dict)]
        assert bound["source"].replace("$$", "$") == str(folder)
        assert service["command"][0] == bound["target"] == "/model"
        manifests = yaml.safe_load_all(run(*asked, "--format", "kubernetes"))
        deployment = next(each for each in manifests if each["kind"] == "Deployment")
        pod = deployment["spec"]["template"]["spec"]
        assert pod["containers"][0]["args"][0] == "/model"
        assert "model" in [item["name"] for item in pod["volumes"] if "persistentVolumeClaim" in item]
        assert str(folder) in " ".join(text_of(run(*asked, "--format", "html")).split())
        for document in (json.loads(run(*asked, "--format", "json")), yaml.safe_load(run(*asked, "--format", "yaml"))):
            assert document["request"]["model"] == str(folder)


def text_of(page: str) -> str:
    """The text of a page; no tag may come from a name."""
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            found.append(data)

        def handle_starttag(self, tag: str, attrs: object) -> None:
            assert tag != "script", attrs

    Reader().feed(page)
    return "".join(found)


@pytest.mark.parametrize(
    ("spelled", "served"),
    [
        (".", "."), ("./config.json", "."), ("config.json", "."), ("../my-model", "../my-model"),
        ("../my-model/config.json", "../my-model"), ("./other.json", "."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", COMMANDS)
def test_relative_spellings(verb: str, spelled: str, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with model_folder("my-model") as folder:
        (folder / "other.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": 2}))
        monkeypatch.chdir(folder)
        line = run(*COMMANDS[verb], "--model", spelled, "--format", "command")
        assert words_of_bash(line)[:3] == ["vllm", "serve", served]
        manifests = run(*COMMANDS[verb], "--model", spelled, "--format", "kubernetes")
        names = {document["metadata"]["name"] for document in yaml.safe_load_all(manifests)}
        assert "vllm-my-model" in names
        assert all(name.startswith("vllm-my-model") for name in names)
        monkeypatch.chdir("/")


def test_batch_and_procure_keep_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "models" / "my $(id) model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    relative = "./models/my $(id) model"
    run("batch", "--models", relative, "--gpu", "l4", "--workload", "chat", "--output", "out")
    written = [yaml.safe_load(path.read_text()) for path in Path("out").rglob("*.yaml") if "configs" in str(path)]
    served = [item["model"] for item in written if isinstance(item, dict) and "max-model-len" in item]
    assert served
    assert set(served) == {relative}
    demand = {
        "workloads": [
            {"name": "chat", "model": relative, "requests_per_s": 1, "input_tokens": 200, "output_tokens": 50,
             "target_context": 2048, "quantization": ["bf16"]}
        ],
        "inventory": {"gpu": ["l4"]},
    }  # fmt: skip
    Path("demand.yaml").write_text(yaml.safe_dump(demand))
    run("procure", "demand.yaml", "--deploy", "command", "--deploy-dir", "deploy")
    (script,) = Path("deploy").glob("*.sh")
    (command,) = serve_commands(script.read_text())
    assert command.arguments[0].text == relative


def test_the_catalogue_is_not_touched() -> None:
    assert Catalog().model("Qwen3-8B").id == "Qwen/Qwen3-8B"
