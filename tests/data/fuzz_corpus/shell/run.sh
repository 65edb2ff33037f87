#!/bin/bash
set -e
export MODEL=Qwen/Qwen3-8B TP=${TP:-2}
for port in 8000 8001; do
  vllm serve "$MODEL" \
    --tensor-parallel-size "$TP" --port $port --max-model-len 8k \
    --compilation-config '{"level": 3}' &
done
wait
