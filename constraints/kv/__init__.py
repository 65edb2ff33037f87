"""The KV cache: dtype, backend, block size, pages, groups, and the plan that vLLM makes of them.

May import: profiles, decisions.
"""
