vllm serve Qwen/Qwen3-8B --swap-space 8 --api-key 'pa$w0rd;id' --served-model-name "a b" # note
