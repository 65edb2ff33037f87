"""What a rule sees: the deployment that `check` judges and the CP-SAT space that `add` writes into.

May import: profiles, decisions, memory, money.
"""
