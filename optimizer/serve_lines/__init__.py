"""`vllm serve` lines, read and written: words, flags, YAML, compose.

May import: constraints, profiles.
"""
