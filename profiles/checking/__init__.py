"""Every file of facts looked at as a whole: the package's own, and those that a user brings.

May import: profiles, reading, nouns, configs, catalogues.
"""
