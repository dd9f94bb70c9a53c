"""A plugin for Deluge: torrents that deluged downloads can be paid for, and what it uploads is paid.

Two processes. ``plugin.py`` (Deluge's components and RPC) and ``host.py`` (the session) run inside deluged:
our libtorrent extension is attached to the session that deluged has, by ``speedpay/swarm/guest.py``. They
import nothing but the standard library, libtorrent and what Deluge has loaded. Everything else, with the
wallet, runs in a process of its own that deluged starts, ``payer.py``: an ordinary ``client/loop.py`` whose
session, ``remote.py``, is at the other end of a pipe (``wire.py``).

So the libraries that we need never meet the distribution's of the same names (cryptography, cffi), of which
one process can hold one version only; keys are never in deluged's memory; nothing that we compute or write
holds its reactor up; and when deluged is killed, the other process still redeems what was earned.
"""
