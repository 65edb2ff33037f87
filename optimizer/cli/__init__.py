"""The command line: one file per verb, the entry point, the catalogue tables.

May import: constraints, profiles, contract, estimation, cpsat, solver, rendering, linter/subject, linter,
placement, procurement, batches, summary, deployment, simulation, report, orders, web.
"""
