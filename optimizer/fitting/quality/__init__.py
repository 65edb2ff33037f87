"""What weight formats keep of a model's scores, pooled over formats and sizes.

May import: profiles.
"""
