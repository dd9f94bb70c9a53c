"""The peer protocol: bytes and events in, messages and ordered effects out. Pure.

``SPEC.md`` is the protocol; ``messages.py`` its codec, ``conversation.py`` what one connection may say and
how often, ``buyer.py`` and ``seller.py`` the two sides of a sale, ``effects.py`` what they ask the client
to do. Imports channel, market, signing, units and errors; no clock, socket, disk or randomness.
"""
