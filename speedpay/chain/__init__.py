"""TRON, and the only place that imports tronpy.

Read ``tron.py`` first: one object that reads the chain and prepares, signs and sends transactions. Then
``transaction.py`` (what is signed, and what is stored before it is sent), ``vault.py`` and ``token.py``
(our contracts in our own words), ``node.py`` (one node, bounded in size and time), ``networks.py``
(which chains there are, and the one that is refused). No type or exception of a third party leaves
this package, and importing it costs nothing: tronpy is loaded when the first node is asked.
"""
