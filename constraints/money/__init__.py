"""Money as it is charged: whole instances, in whole millionths of a dollar.

May import: profiles.
"""
