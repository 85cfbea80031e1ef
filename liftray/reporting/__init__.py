"""What all reports share: pages and their templates, tables, pictures, and the facts of the machine.

This is the only package that sets up jinja2, writes Markdown tables, embeds pictures and prepares matplotlib figures.
It knows nothing of what a report is about. Reports themselves are in evaluate, search, study and bench.
"""
