"""Swarms: torrents, peers and bytes, through libtorrent; nothing about money.

The only package that imports libtorrent, and no libtorrent type or exception leaves it. Of speedpay
it may import errors, units and config only. Read events.py first (everything that can happen), then
torrents.py (the session) and extension.py with native/plugin.cpp (our messages, the accounting and
the weights inside libtorrent).
"""
