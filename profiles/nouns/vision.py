"""VisionTower: what of a vision-language model sees, as far as memory and time depend on it."""

from pydantic import Field

from vllm_opt.profiles.noun import Noun


class VisionTower(Noun):
    """Encoder and projector of a vision-language model: weights only, its text part is the decoder."""

    parameters: int = Field(ge=0, description="parameters of tower and projector together")
    replicated_parameters: int = Field(
        0, ge=0, description="those of them that every rank holds whole: norms, row-parallel biases, embeddings"
    )
    sharded_by_tensor_parallel: bool = Field(True, description="vLLM divides the tower's linear layers by TP")
    max_encoder_tokens: int | None = Field(
        None, description="encoder tokens of the largest image; None: the class's processor is not known"
    )
    usual_image_tokens: int | None = Field(None, gt=0, description="encoder tokens of an image of 1024 x 1024")
    max_video_tokens: int = Field(0, ge=0, description="encoder tokens of the longest video; 0: see video_step_tokens")
    video_step_tokens: int = Field(
        0, ge=0, description="the longest video is max_model_len rounded down to this, at least once (Qwen2.5-VL)"
    )
    patches_per_token: int = Field(1, gt=0, description="patches that become one encoder token")
    hidden_size: int = Field(0, ge=0, description="width of the tower; 0 where it is not known")
    intermediate_size: int = Field(0, ge=0, description="inner width of the tower's MLP")
    pixel_bytes_per_token: int = Field(0, ge=0, description="16-bit pixels that become one encoder token")
    divisible_widths: tuple[int, ...] = Field((), description="widths and heads that TP must divide")
