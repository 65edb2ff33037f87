"""The order of `procure` shown: for a terminal, as a report, a workbook and CSV, and as the files that start it.

May import: profiles, charts, contract, deployment, procurement, rendering, report.
"""
