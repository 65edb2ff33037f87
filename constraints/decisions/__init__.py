"""What is decided: a layout, its flags, their defaults by release, and how a rule says no.

May import: profiles.
"""
