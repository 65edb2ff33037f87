"""The answer of `solve` in some thirty lines of a terminal: verdict, command, limits, close calls, assumptions.

May import: profiles, contract, rendering.
"""
