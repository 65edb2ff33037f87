"""Servers on the GPUs of a site: memory of every GPU, islands, links, and what a placement is worth, in whole numbers.

May import: decisions.
"""
