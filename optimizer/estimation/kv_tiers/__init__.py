"""KV outside the GPU: connectors, host memory, and what a hit there costs in seconds.

May import: constraints, profiles, contract.
"""
