"""The central ledger: accounts, payment channels, one journal of transfers, served over HTTP.

Imports ``ledger_api`` (shapes and signatures), channel, signing, units and errors, and SQLAlchemy
Core; nothing of swarms. Read ``chart.py`` first (which accounts exist and what may move between
them), then ``book.py`` (the only code that moves money), ``channels.py`` (what a payer and a payee
may do) and ``service.py`` (one request from bytes to signed answer).
"""
