"""The running client: one event loop, a durable store, and the two sides' dealings with the ledger.

``loop.py`` is the thin shell around the pure core: events in, effects out. ``store.py`` is what survives a
crash, ``escrow.py`` the payer's and ``redeemer.py`` the payee's way to the ledger, ``download.py`` one
download from its plan to its receipt. Imports ledger_api, swarm, peer and below; never ``ledger``.
"""
