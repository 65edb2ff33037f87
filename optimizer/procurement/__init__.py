"""`procure`: a demand file becomes a fleet problem and its solution an order.

May import: constraints, profiles, contract, estimation, space, planning, search, fleet, deployment, report,
second_opinion.
"""
