"""A point becomes a Plan, checked again by every rule.

May import: profiles, constraints, contract, serve_lines, estimation, space.
"""
