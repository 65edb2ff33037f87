"""What could be built: the setting of a request, shapes of servers, their physics, their operating points.

May import: constraints, profiles, contract, estimation, estimation/kv_tiers.
"""
