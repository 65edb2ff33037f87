"""How much better another plan could turn out within the intervals of the predictions.

May import: contract.
"""
