// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.26;

/// @title speedpay test token: a TRC-20 with 6 decimals and a capped supply
/// @notice One base unit is 1 µtok of the ledger. For TRON's test networks: whoever holds the minter's key makes tokens
/// up to the cap out of nothing.
///
/// WARNING: the vault cannot know who minted. An operator who also holds the minter's key can deposit tokens that
/// nobody bought and so raise what it may owe. Minter and operator must be two keys of two people.
///
/// WARNING: changing an allowance that is not zero can be raced by its spender, who may spend the old and the new one.
/// Set it to zero first.
///
/// @dev Errors are those of ERC-6093 where it has one. Function and event signatures are those of TIP-20.
contract Token {
    string public constant name = "speedpay test token";
    string public constant symbol = "SPT";
    uint8 public constant decimals = 6;

    /// @notice The vault counts in 63 bits; a supply above that could not be deposited whole.
    uint256 public constant MAX_CAP = 2 ** 63 - 1;

    /// @notice The most base units that ever exist.
    uint256 public immutable cap;

    uint256 public totalSupply;

    /// @notice The only address that mints.
    address public minter;

    /// @notice Becomes minter when it accepts; zero when nobody is proposed.
    address public pendingMinter;

    mapping(address holder => uint256) public balanceOf;
    mapping(address holder => mapping(address spender => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);
    event MinterProposed(address indexed by, address proposed);
    event MinterChanged(address indexed from, address to);

    error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
    error ERC20InvalidReceiver(address receiver);
    error ERC20InvalidSpender(address spender);
    error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
    /// The caller is not the minter.
    error NotMinter(address caller);
    /// The caller is not the address that the minter proposed.
    error NotPendingMinter(address caller);
    /// The address of a minter is zero.
    error NoMinter();
    /// A cap of zero, or above `MAX_CAP`.
    error BadCap(uint256 cap);
    /// More would be minted than the cap leaves.
    error AboveCap(uint256 amount, uint256 left);

    /// @param firstMinter mints; must not be the key that anchors
    /// @param supplyCap base units, from 1 to `MAX_CAP`
    constructor(address firstMinter, uint256 supplyCap) {
        if (firstMinter == address(0)) revert NoMinter();
        if (supplyCap == 0 || supplyCap > MAX_CAP) revert BadCap(supplyCap);
        minter = firstMinter;
        cap = supplyCap;
        emit MinterChanged(address(0), firstMinter);
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        _move(msg.sender, to, amount);
        return true;
    }

    /// @notice Lets `spender` move up to `amount` of the caller's; the largest uint256 is never used up.
    function approve(address spender, uint256 amount) external returns (bool) {
        if (spender == address(0)) revert ERC20InvalidSpender(spender);
        allowance[msg.sender][spender] = amount;
        emit Approval(msg.sender, spender, amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        uint256 allowed = allowance[from][msg.sender];
        if (allowed != type(uint256).max) {
            if (allowed < amount) revert ERC20InsufficientAllowance(msg.sender, allowed, amount);
            unchecked {
                allowance[from][msg.sender] = allowed - amount;
            }
        }
        _move(from, to, amount);
        return true;
    }

    /// @notice Makes `amount` base units for `to`, within the cap.
    function mint(address to, uint256 amount) external {
        if (msg.sender != minter) revert NotMinter(msg.sender);
        if (to == address(0)) revert ERC20InvalidReceiver(to);
        uint256 left = cap - totalSupply;
        if (amount > left) revert AboveCap(amount, left);
        unchecked {
            totalSupply += amount; // at most cap
            balanceOf[to] += amount; // at most totalSupply
        }
        emit Transfer(address(0), to, amount);
    }

    /// @notice First step of handing over: names who may accept; zero takes a proposal back.
    function proposeMinter(address proposed) external {
        if (msg.sender != minter) revert NotMinter(msg.sender);
        pendingMinter = proposed;
        emit MinterProposed(msg.sender, proposed);
    }

    /// @notice Second step: a wrong address cannot do it, so that the minter is never lost to a typing error.
    function acceptMinter() external {
        if (msg.sender != pendingMinter) revert NotPendingMinter(msg.sender);
        emit MinterChanged(minter, msg.sender);
        minter = msg.sender;
        pendingMinter = address(0);
    }

    function _move(address from, address to, uint256 amount) private {
        if (to == address(0)) revert ERC20InvalidReceiver(to);
        uint256 held = balanceOf[from];
        if (held < amount) revert ERC20InsufficientBalance(from, held, amount);
        unchecked {
            balanceOf[from] = held - amount;
            balanceOf[to] += amount; // at most totalSupply
        }
        emit Transfer(from, to, amount);
    }
}
