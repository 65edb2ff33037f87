"""Offline: constants fitted to published measurements.

May import: nothing of the house.
"""
