"""The second opinion: a plan's memory, limits, cost and speed counted again, slowly and without the search.

No cache, no table of layouts, nothing of the search, the solver or the rules. May import: profiles, constraints,
contract.
"""
