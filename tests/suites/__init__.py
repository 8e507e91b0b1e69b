"""Published suites run against our own code, as one table: ``make suites``.

A suite is a module here with a function ``rows(sources)`` and a line in ``SUITES`` of ``tests/suites/__main__.py``.
"""
