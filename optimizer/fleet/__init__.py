"""The fleet in whole numbers: problem, models in CP-SAT and MIP, search, exact check.

May import: constraints.
"""
