"""Shell text read without running it: variables, arrays, functions, here-documents, nested shells.

May import: profiles, serve_lines.
"""
