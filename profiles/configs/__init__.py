"""Readers of a Hugging Face `config.json`, one file per kind of architecture.

May import: profiles, nouns.
"""
