"""A plan against what was measured.

May import: profiles.
"""
