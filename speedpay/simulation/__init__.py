"""The market tried out: a seeded, fluid simulation over the real rules of ``market/``, no network, no clock.

Read ``policies.py`` first (the ways to divide an upload that are compared), then ``world.py`` (seeders and
buyers, step by step), ``study.py`` (what is measured, in the scenes of ``scenes.py`` and ``crowd.py``) and
``own.py`` (a swarm of the user's own numbers). Started by ``speedpay simulate``; nothing else imports it.
"""
