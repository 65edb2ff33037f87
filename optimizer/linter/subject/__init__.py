"""What the linter looks at: one command with its context, and what a finding is.

May import: constraints, profiles, contract, serve_lines, estimation.
"""
