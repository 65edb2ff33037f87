"""How long requests wait and how their times spread, by the traffic: percentiles over requests, utilisation, capacity.

May import: profiles, speed.
"""
