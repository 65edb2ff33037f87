"""vLLM's V1 scheduler, step by step, for requests as they arrive: what closed forms are checked against.

May import: constraints, profiles, contract, estimation.
"""
