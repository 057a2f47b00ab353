# Generated from ../_async/__init__.py by python/tools/generate.py. Do not edit.
"""One half of the package: the same names with and without `async`. See docs/decisions/0047."""
