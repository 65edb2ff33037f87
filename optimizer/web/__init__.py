"""The HTTP API and the page of `vllm-opt web`: verbs answered by warm processes, a bounded queue, one page.

May import: profiles, contract, space, estimation, cpsat, solver, rendering, deployment, linter, procurement, placement,
orders.
"""
