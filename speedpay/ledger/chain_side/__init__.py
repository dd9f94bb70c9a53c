"""The ledger's own thread that looks at the chain: ``worker.py`` first, then what a round consists of,
``watch.py`` (solid blocks → deposits, claims, anchors, a freeze), ``again.py`` (blocks that were passed
over are read once more) and ``health.py`` (what is wrong, in words).

Nodes are asked between transactions, never inside one: a slow node delays nobody's payment.
"""
