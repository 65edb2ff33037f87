"""Text and files into values: quantities as people write them, data files, files that users name.

May import: profiles.
"""
