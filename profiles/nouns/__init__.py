"""What exists, as frozen types: model, GPU, weight format, vLLM release, price, workload, fitted constants.

May import: profiles, reading.
"""
