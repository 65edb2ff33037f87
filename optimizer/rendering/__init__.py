"""An answer as a table, JSON, YAML, a command, compose, Kubernetes or HTML.

May import: constraints, profiles, contract, serve_lines, estimation, deployment, charts, report.
"""
