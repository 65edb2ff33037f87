"""A point becomes a Plan, checked again by every rule.

May import: constraints, profiles, contract, serve_lines, estimation, space.
"""
