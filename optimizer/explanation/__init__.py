"""Why nothing fits and what would: conflict, relaxations, sensitivity, in words.

May import: constraints, profiles, contract, space, search, questions.
"""
