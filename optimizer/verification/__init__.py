"""A plan against a server: the benchmark to run, a small load client, the verdict, and the term that was wrong.

May import: constraints, profiles, contract, calibration, fitting/latency.
"""
