"""A user's own logs and benchmarks become a calibration: read, compared with what is predicted, learned, kept.

May import: constraints, profiles, contract, estimation, fitting/latency, fitting/startup.
"""
