"""Corrected text: what may be changed, the change as edits, and the proof that it changes nothing else.

May import: serve_lines, serve_lines/files, serve_lines/shell, linter/subject, profiles.
"""
