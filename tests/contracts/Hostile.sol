// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.26;

// Tokens for tests that answer, move or call otherwise than they should. Anybody mints and moves anything.

abstract contract Loose {
    mapping(address => uint256) public balanceOf;

    // The same arguments as the real token's.
    constructor(address, uint256) {}

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function approve(address, uint256) external pure returns (bool) {
        return true;
    }

    function _move(address from, address to, uint256 amount) internal {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

contract SaysNothing is Loose {
    constructor(address a, uint256 b) Loose(a, b) {}

    function transfer(address to, uint256 amount) external {
        _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external {
        _move(from, to, amount);
    }
}

abstract contract Answering is Loose {
    function transfer(address to, uint256 amount) external returns (bool) {
        return _answer(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        return _answer(from, to, amount);
    }

    function _answer(address from, address to, uint256 amount) internal virtual returns (bool);
}

contract SaysFalse is Answering {
    constructor(address a, uint256 b) Loose(a, b) {}

    function _answer(address from, address to, uint256 amount) internal override returns (bool) {
        _move(from, to, amount);
        return false;
    }
}

contract OnlySaysTrue is Answering {
    constructor(address a, uint256 b) Loose(a, b) {}

    function _answer(address, address, uint256) internal pure override returns (bool) {
        return true;
    }
}

contract OnlySaysFalse is Answering {
    constructor(address a, uint256 b) Loose(a, b) {}

    function _answer(address, address, uint256) internal pure override returns (bool) {
        return false;
    }
}

contract TakesAFee is Answering {
    constructor(address a, uint256 b) Loose(a, b) {}

    function _answer(address from, address to, uint256 amount) internal override returns (bool) {
        _move(from, to, amount - 1);
        _move(from, address(0xFEE), 1);
        return true;
    }
}

/// Refuses one recipient, and calls anybody in the middle of a transfer, before or after it has moved.
contract CallsBack is Answering {
    address public refused;
    address public target;
    bytes public data;
    bool public first;
    uint8 public answered; // 1: the call inside reverted, 2: it went through

    constructor(address a, uint256 b) Loose(a, b) {}

    function refuse(address whom) external {
        refused = whom;
    }

    function arm(address whom, bytes calldata what, bool beforeMoving) external {
        (target, data, first, answered) = (whom, what, beforeMoving, 0);
    }

    function _answer(address from, address to, uint256 amount) internal override returns (bool) {
        require(to != refused, "refused");
        if (first) _call();
        _move(from, to, amount);
        if (!first) _call();
        return true;
    }

    function _call() private {
        address whom = target;
        if (whom == address(0)) return;
        target = address(0);
        (bool ok,) = whom.call(data);
        answered = ok ? 2 : 1;
    }
}
