"""What keeps data and documents in order: check-data, and the reference pages written from the program itself.

May import: profiles, cli, linter, rendering.
"""
