// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.26;

/// @title What the vault asks of its token (TIP-20, TRON's form of ERC-20)
/// @dev No return value is declared where tokens differ in what they return: see {Vault}, which believes balances only.
interface ITRC20 {
    function transfer(address to, uint256 amount) external;

    function transferFrom(address from, address to, uint256 amount) external;

    function balanceOf(address holder) external view returns (uint256);
}
