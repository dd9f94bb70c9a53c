"""How anyone talks to the ledger: HTTP shapes, signatures on both directions, and a client.

Imports errors, units, signing and channel; never ``ledger``: whoever checks an operator must not run
the operator's code. ``ledger`` uses the same shapes and signatures from its side. Read ``signed.py``
first (what is signed), then ``shapes.py`` (what is sent), then ``client.py``.
"""
