"""`solve`, `explain` and the Pareto front: search, selection, proof, answer.

May import: profiles, contract, space, planning, search, questions, explanation, cpsat,
regret, second_opinion.
"""
