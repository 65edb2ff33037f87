"""What exists: models, GPUs, quantisations, vLLM releases and prices, as frozen nouns with their data."""
