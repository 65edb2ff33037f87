"""One given configuration: its resolution, memory, speed, start-up log and equations.

May import: constraints, profiles, contract, serve_lines, serve_lines/shell, estimation/kv_tiers.
"""
