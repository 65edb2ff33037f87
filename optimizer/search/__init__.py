"""Bounds first: which servers can still win, visited best first.

Beside `questions` on purpose: the search sizes whole servers against exact objectives and stops at the first class
that wins; `questions` needs existence only, for many values of one limit, and keeps tables of every layout that no
limit changes. One engine would either build those tables for each `solve`, or size servers anew for each question.

May import: constraints, profiles, space.
"""
