"""The start-up memory constants: logs, fit, score, table.

May import: constraints, profiles.
"""
