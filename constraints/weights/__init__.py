"""Bytes of weights per rank, and parameters by part.

May import: profiles, decisions.
"""
