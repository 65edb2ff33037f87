"""The verbs about measurements: calibrate, verify, doubt.

May import: contract, cpsat, cli, calibration, rendering, verification, doubts.
"""
