"""`place`: which model runs on which GPUs of the nodes that are owned, with a proof and the way there from today.

May import: constraints, profiles, contract, space, planning, search, estimation, rendering, procurement,
placement_model, deployment, charts, report, second_opinion.
"""
