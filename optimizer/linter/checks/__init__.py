"""The checks of the linter, by what they look at.

May import: constraints, profiles, contract, serve_lines, estimation, linter/subject.
"""
