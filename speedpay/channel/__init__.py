"""Payment channels: who may pay how much, and what a payee accepts. Pure.

A payer's deposit is locked in *escrow* for one payee; the payer then signs *vouchers* with rising
*cumulative* totals; the highest one is redeemed. Imports errors, units and signing only. Read
``voucher.py`` first (the objects and their bytes), then ``payee.py`` (the one check of a voucher)
and ``payer.py`` (the one place that may sign one).
"""
