"""`lint`: runs the checks, mends what they found, reports.

May import: profiles, contract, serve_lines, solver, rendering, linter/subject, linter/checks.
"""
