"""What each rule of the linter is about: the docstrings are the pages of docs/lint.

May import: nothing of the house.
"""
