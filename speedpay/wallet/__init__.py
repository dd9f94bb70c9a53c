"""Keys and funds of one user: the seed on disk, what is derived from it, and the account's money.

Imports only what lies below (ledger_api, chain, proof, config, signing, units, errors) and the libraries
for keys (coincurve, mnemonic, cryptography); never click, never the ledger. Read ``keys.py`` first, then
``keystore.py`` (how the seed is stored) and ``funds.py`` (what is confirmed, and how money is sent once).

Is it on the chain? ``judgement.py`` is the one check, pure; ``verification.py`` gathers what it judges,
``receipts.py`` says the least that a leaf must hold, ``proofs.py`` and ``keeping.py`` keep what the ledger
showed, ``whole.py`` adds up all leaves. Money on the chain: ``outbox.py`` (each transaction leaves once),
``funding.py``, ``withdrawing.py``, ``claiming.py`` (the way out without the ledger), ``chain_money.py``,
``payout.py`` (where the vault pays).
"""
