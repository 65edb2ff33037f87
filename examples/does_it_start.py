"""Does a given `vllm serve` configuration start, and what would vLLM print? The same model on three cards."""

from vllm_opt.optimizer import EstimateRequest, estimate

for gpu in ("rtx-4090", "l40s", "h100-sxm"):
    result = estimate(EstimateRequest(model="meta-llama/Llama-3.1-8B-Instruct", gpu=gpu, max_model_len=131072))
    memory = result.memory
    print(f"{gpu}: {'starts' if result.fits else 'does not start'} with 131,072 tokens")
    print(f"    KV cache {memory.kv_cache_bytes / 2**30:.2f} GiB = {memory.kv_cache_tokens:,} tokens")
    print(f"    largest context that starts: {memory.max_supported_model_len:,} tokens")
    for line in result.startup_log:
        print("   ", line)
