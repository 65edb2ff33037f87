"""`lint`: runs the checks, mends what they found, reports.

May import: profiles, contract, serve_lines, serve_lines/shell, serve_lines/files, solver, rendering, linter/subject,
linter/checks, linter/fixes, linter/pages.
"""
