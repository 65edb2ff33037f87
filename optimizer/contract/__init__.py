"""What goes in and comes out: requests, answers, their faults, and numbers as text.

May import: constraints, profiles.
"""
