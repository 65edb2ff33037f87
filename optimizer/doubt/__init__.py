"""Which plans could be best.

May import: profiles.
"""
