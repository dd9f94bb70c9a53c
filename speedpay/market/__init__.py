"""The market: what a downloader offers, who gets which share, what counts as delivered. Pure.

Imports errors and units only. Read ``bidder.py`` first (the published formula and the plan), then
``allocator.py`` (a seeder's upload divided by committed price) and ``metering.py`` (paid bytes).
"""
