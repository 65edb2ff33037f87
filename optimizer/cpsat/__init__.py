"""The CP-SAT model as a table of contents: variables, model, objectives, hints, proof.

Only this room and `fleet` import ortools.

May import: constraints, profiles, space, search, regret.
"""
