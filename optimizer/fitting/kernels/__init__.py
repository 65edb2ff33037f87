"""Tables of measured kernels, summarised as efficiencies, floors and skew.

May import: profiles.
"""
