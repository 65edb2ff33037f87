"""Files that people keep vLLM commands in: compose, Kubernetes, Helm values, Dockerfiles, units, Markdown, Python.

May import: profiles, serve_lines, serve_lines/shell.
"""
