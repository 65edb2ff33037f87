"""The placement problem as one CP-SAT model: GPU patterns, classes of identical nodes, proof, dealing to GPUs.

May import: constraints.
"""
