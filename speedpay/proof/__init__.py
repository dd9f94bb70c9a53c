"""What the ledger commits to, and how anyone checks it: Merkle-sum tree, journal tree, heads. Pure.

Read ``balance.py`` first: ``verify`` is the one check of one user's balance against the chain. Below it
``leaf.py`` and ``sum_tree.py`` (who is owed what, with sums), ``head.py`` (what the ledger signs once for
each epoch), ``journal.py`` (the RFC 9162 tree over all transfers), ``evidence.py`` (the file that
``speedpay verify`` leaves behind). This docstring is the one place of the byte formats; vectors for
another implementation are in ``tests/vectors/proof.json``; ``scripts/verify_independent`` is one.

All integers are big-endian and unsigned; u64 is 8 bytes, u256 32 bytes; ‖ joins. A sum, an amount or a
count above 2^63 − 1 is refused, on chain too, so nothing can overflow or be negative. 1 token =
1,000,000 µtok = 1,000,000 base units of the TRC-20.

**Leaf and sum tree** (Maxwell's tree as corrected in ePrint 2018/1139: a node hashes both child hashes
and both child sums)::

    leaf = sha256(0x00 ‖ chain_id u256 ‖ vault 20 ‖ account 16 ‖ payout 20
                  ‖ withdrawable u64 ‖ balance u64 ‖ salt 32)
    node = sha256(0x01 ‖ left.hash 32 ‖ left.sum u64 ‖ right.hash 32 ‖ right.sum u64)
    leaf.sum = withdrawable + balance        node.sum = left.sum + right.sum

    empty subtree of any height: hash 32 zero bytes, sum 0

n leaves stand at positions 0 … n − 1, followed by empty ones up to 2^depth; depth = ceil(log2 n), 0 for
n ≤ 1, at most 40. Of two nodes at level k (leaves: 0) on the way up from a leaf, bit k of its position
says which is ours: 0 left, 1 right. An account keeps its position for ever.

chain_id is TRON's CHAINID, the last 4 bytes of the genesis block's id. vault and payout are addresses
without TRON's prefix 0x41; payout is 20 zero bytes while none is named. withdrawable: µtok ever released
for withdrawal, only grows. balance: µtok that are free, in own channels and not paid, or queued for
withdrawal. The ledger's fees have the leaf of account sha256("speedpay/v1/treasury")[:16].

    salt = HMAC-SHA256(salt_key 32, version u64)

version counts how often the leaf's content has changed; salt_key is shared by owner and ledger. For an
account that gave none it is HMAC-SHA256(the ledger's leaf key, account).

**Head**, 224 bytes, one for each epoch from 1 on::

    epoch u64 ‖ closed_at u64 (unix s) ‖ chain_id u256 ‖ vault 20 ‖ root 32 ‖ liabilities u64 ‖ credit u64
    ‖ leaf_count u64 ‖ journal_size u64 ‖ journal_root 32 ‖ deposit_seq u64 ‖ file 20 ‖ prev 32

    head hash = sha256("speedpay/v1/head" ‖ 0 ‖ len(network) u8 ‖ network ‖ ledger_id 32 ‖ head)

The ledger's response key signs the head hash (``speedpay/signing.py``); it is ``head`` in the anchor and
``prev`` of the next head (the first: zeros). root and liabilities are the sum tree's. credit is granted
money, owed by nobody and never in liabilities. Every deposit up to deposit_seq is credited. file: v1
infohash of the epoch's file, leaf_count × (leaf hash 32 ‖ sum u64).

**Balance proof**, 102 + 40 × depth bytes::

    version u8 = 1 ‖ epoch u64 ‖ position u64 ‖ account 16 ‖ payout 20 ‖ withdrawable u64 ‖ balance u64
    ‖ salt 32 ‖ depth u8 ‖ depth × (sibling hash 32 ‖ sibling sum u64), the leaf's level first

**Journal tree**: RFC 9162, section 2.1, with sha256 over one entry for each transfer, in order::

    entry      = for each of sequence, time, kind, debit, credit, class, amount (text, numbers in decimal)
                 and reference (bytes): length u32 ‖ field
    commitment = sha256(salt 32 ‖ entry)     salt = HMAC-SHA256(the ledger's journal key, sequence u64)
    leaf       = sha256(0x00 ‖ commitment)   node = sha256(0x01 ‖ left ‖ right)

What it does not give: it does not show that each payment was right, nor that no account stands twice in
the tree; and whoever reads the epochs' files can follow the sum at one position.
"""
