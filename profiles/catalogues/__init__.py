"""Finding a noun by name: the shipped data, what a user adds, this machine, the Hub.

May import: profiles, reading, nouns, configs.
"""
