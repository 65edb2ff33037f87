"""Which plans could be the best within the intervals, and which benchmark would tell.

May import: profiles, contract, cpsat, regret, rendering, solver, space, verification, charts, report.
"""
