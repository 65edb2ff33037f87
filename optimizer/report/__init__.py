"""What a report is made of: sections of words, tables, charts; as one page by Jinja2, as CSV and as a workbook.

Knows nothing of plans and fleets: the rooms that do fill it in. May import: profiles.
"""
