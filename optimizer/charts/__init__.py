"""Charts as inline SVG, for pages that load nothing and run nothing: lines with limits, bars, fronts, tornados.

Whatever they show arrives as plain numbers and words; every word is escaped here. May import: profiles.
"""
