"""`batch`: recommended configurations of many models, resumable, local or on Ray.

May import: profiles, contract, serve_lines, estimation, space, solver, rendering, charts, report.
"""
