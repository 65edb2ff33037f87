"""Step time, TTFT, TPOT and throughput.

May import: profiles, decisions.
"""
