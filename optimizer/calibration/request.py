"""What may be asked of `vllm-opt calibrate`: the files, and what they do not say of themselves."""

from pydantic import Field

from vllm_opt.optimizer.contract.field_types import Count, CountOrZero, GpuCount, Switch, Text, Texts
from vllm_opt.optimizer.contract.request import Request


class CalibrateRequest(Request):
    """Files and folders to learn from. What a file states wins over the fields that describe the deployment."""

    files: Texts = Field(description="logs, results and folders of them")
    calibration_file: Text | None = Field(
        None, description="where the calibration is kept; None: the user's data folder"
    )
    replace: Switch = Field(False, description="forget what was learned before instead of adding to it")
    dry_run: Switch = Field(False, description="compare and learn, but write nothing")
    model: Text | None = Field(None, description="of results that name no model, or one that the catalogue lacks")
    gpu: Text | None = Field(None, description="of files that name no GPU, as results of `vllm bench serve` do")
    vllm_version: Text | None = None
    quantization: Text | None = None
    kv_cache_dtype: Text | None = None
    tensor_parallel_size: Count | None = None
    data_parallel_size: GpuCount | None = None
    replicas: GpuCount | None = None
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Count | None = None
    input_tokens: CountOrZero | None = None
    output_tokens: CountOrZero | None = None
    concurrency: Count | None = None
    gpu_file: Text | None = None

    @property
    def stated(self) -> dict[str, object]:
        """What the caller says of the deployment that was measured."""
        names = (
            "model", "gpu", "vllm_version", "quantization", "kv_cache_dtype", "tensor_parallel_size",
            "data_parallel_size", "replicas", "max_num_seqs", "max_num_batched_tokens", "input_tokens",
            "output_tokens", "concurrency",
        )  # fmt: skip
        return {name: value for name in names if (value := getattr(self, name)) not in (None, 0)}
