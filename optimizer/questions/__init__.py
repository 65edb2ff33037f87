"""Is there any point when a limit moves? Tables over every layout, asked thousands of times by explanations.

Beside `search` on purpose: the search needs objectives and the best point, questions only need existence, for many
values of one limit, and its tables keep what no limit can change.

May import: constraints, profiles, contract, space, planning.
"""
