"""Runtime memory: activations, overheads, and the ledger that adds everything up.

May import: profiles, decisions, weights, kv.
"""
