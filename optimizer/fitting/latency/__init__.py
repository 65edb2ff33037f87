"""The latency constants: measurements, fit, validation, report.

May import: constraints, profiles.
"""
