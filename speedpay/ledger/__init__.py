"""The central ledger: accounts, payment channels, one journal of transfers, served over HTTP.

Imports ``ledger_api`` (shapes and signatures), ``chain``, proof, channel, signing, units and errors,
and SQLAlchemy Core; nothing of swarms. Read ``chart.py`` first (which accounts exist and what may move
between them), then ``book.py`` (the only code that moves money), ``channels.py`` (what a payer and a
payee may do) and ``service.py`` (one request from bytes to signed answer).

What is owed on chain begins at ``epochs.py`` (closing an epoch: ``leaves.py``, ``tree.py``,
``journal_tree.py``), goes on in ``anchoring.py`` (one transaction for each epoch), and is driven by
``chain_side/worker.py``, which also reads deposits and claims. ``fsck.py`` holds the books against
themselves, ``audit.py`` against the chain.
"""
