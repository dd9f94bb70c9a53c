"""Keys and funds of one user: the seed on disk, what is derived from it, and the account's money.

Imports only what lies below (ledger_api, config, signing, units, errors) and the libraries for keys
(bip32, mnemonic, cryptography); never click, never the ledger. Read ``keys.py`` first, then
``keystore.py`` (how the seed is stored) and ``funds.py`` (what is confirmed, and how money is sent
once).
"""
