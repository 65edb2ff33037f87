"""What a layout must satisfy on its own: what divides, and what goes together.

May import: profiles, decisions, weights, kv.
"""
