// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.26;

/// @title Merkle sum tree over accounts: the hashes of `speedpay/proof/sum_tree.py`, byte for byte
/// @notice A node hashes both child hashes and both child sums. A tree that hashes only their total (Maxwell's) lets
/// the operator hide a negative child (ePrint 2018/1139).
/// @dev All numbers are big-endian. sha256, not keccak256, so that anybody checks with a standard library.
/// Leaf and node differ in length (137 and 81 bytes) and first byte, so that neither can pass for the other.
library SumTree {
    /// @notice The largest amount anywhere: it fits a signed 64-bit column of any database.
    uint256 internal constant MAX_SUM = 2 ** 63 - 1;

    /// @notice The longest proof that is read: 2^40 accounts.
    uint256 internal constant MAX_DEPTH = 40;

    /// A sum on the way to the root is above `MAX_SUM`.
    error SumTooLarge(uint256 sum);

    /// More than `MAX_DEPTH` levels, or not as many sums as hashes.
    error BadProofLength(uint256 hashes, uint256 sums);

    /// The position has bits above the tree's depth: one leaf has one position only.
    error PositionOutsideTree(uint64 position, uint256 depth);

    /// @notice Hash of one account's leaf in the tree of one vault on one chain.
    /// @param account the ledger's account id, 16 bytes
    /// @param payout TRON address without its 0x41, which alone is ever paid
    /// @param withdrawable µtok ever released for withdrawal; only grows
    /// @param balance µtok that is in the account or locked in its own channels
    /// @param salt keeps strangers from guessing balances
    function leaf(
        bytes16 account,
        address payout,
        uint64 withdrawable,
        uint64 balance,
        bytes32 salt
    ) internal view returns (bytes32) {
        return sha256(
            abi.encodePacked(
                bytes1(0x00), block.chainid, address(this), account, payout, withdrawable, balance, salt
            )
        );
    }

    /// @notice Hash of an inner node.
    function node(bytes32 left, uint64 leftSum, bytes32 right, uint64 rightSum)
        internal
        pure
        returns (bytes32)
    {
        return sha256(abi.encodePacked(bytes1(0x01), left, leftSum, right, rightSum));
    }

    /// @notice The root that a leaf leads to, and the sum of the whole tree.
    /// @param position the leaf's index; bit k says on which side the path is at level k
    /// @param hashes the siblings' hashes, the leaf's level first
    /// @param sums the siblings' sums in µtok
    function climb(
        bytes32 hash,
        uint256 sum,
        uint64 position,
        bytes32[] calldata hashes,
        uint64[] calldata sums
    ) internal pure returns (bytes32, uint256) {
        uint256 depth = hashes.length;
        if (depth > MAX_DEPTH || sums.length != depth) revert BadProofLength(depth, sums.length);
        if (position >> depth != 0) revert PositionOutsideTree(position, depth);
        if (sum > MAX_SUM) revert SumTooLarge(sum);
        for (uint256 level = 0; level < depth; ++level) {
            uint64 siblingSum = sums[level];
            // `sum` is at most MAX_SUM here, so that it fits the eight bytes it is hashed as.
            hash = (position >> level) & 1 == 0
                ? node(hash, uint64(sum), hashes[level], siblingSum)
                : node(hashes[level], siblingSum, hash, uint64(sum));
            sum += siblingSum;
            if (sum > MAX_SUM) revert SumTooLarge(sum);
        }
        return (hash, sum);
    }
}
