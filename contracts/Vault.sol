// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.26;

import {ITRC20} from "./ITRC20.sol";
import {SumTree} from "./SumTree.sol";

/// @title The vault: holds the tokens behind a ledger's accounts, and the anchors of the ledger's epochs
/// @notice An anchor is the root of a Merkle sum tree over all accounts, with the sum of what the ledger owes. Anybody
/// checks their own leaf against it; a leaf's owner takes out by proof what was released, and after a freeze everything.
/// Not upgradeable; nobody owns it; nothing stops claims.
///
/// What it guards by itself, whatever the operator does: liabilities never above the deposits they cover; one root for
/// each epoch, in order; all claims together never above the covered deposits, so that every later deposit can be
/// refunded after a freeze; a freeze is final.
///
/// WARNING: that each payment inside the ledger was allowed is not proved here. An operator can anchor a tree with
/// somebody's balance missing. Whoever does not check every epoch does not notice.
/// WARNING: a root that the guardian does not freeze within `delay` after its anchor can be claimed against. False
/// roots that nobody stops win, and whoever claims first is paid first.
/// WARNING: a freeze goes back to the last epoch older than `delay`. What was paid inside the ledger since is lost to
/// its payees, and is the payer's again.
/// WARNING: the guardian cannot take anything, but can freeze at any time and for good. There is no way back.
/// WARNING: a refund goes to the address that deposited. An exchange's address is not its customer.
///
/// @dev Amounts are µtok (the token's base units) of at most 63 bits, times seconds. No structs or tuples in external
/// functions: the ABI that TRON stores loses their components. Every event has an argument that is not indexed:
/// tronpy's decoder fails on events without data.
contract Vault {
    /// One anchor in three storage slots; all of them are rewritten every RING_SIZE epochs, at 5,000 energy a slot.
    struct Anchor {
        bytes32 root;
        bytes32 head;
        uint64 liabilities;
        uint64 journalSize;
        uint64 depositSeq;
        uint64 time;
    }

    /// One slot. `total` is cumulative: an amount is the difference to the deposit before it.
    struct Deposit {
        address from; // zero once refunded
        uint64 total;
        uint32 time; // until the year 2106
    }

    /// @notice So many anchors can be claimed against.
    uint64 public constant RING_SIZE = 8;

    /// @notice No parameter is longer than a year: nobody's tokens wait longer for a vanished operator.
    uint64 public constant MAX_SECONDS = 365 days;

    ITRC20 public immutable token;
    /// @notice May freeze at once. Another key, of another person, than the operator's.
    address public immutable guardian;
    /// @notice Seconds between two anchors, at least.
    uint64 public immutable minInterval;
    /// @notice Seconds from an anchor until it is final: can be claimed against, and frozen to. The guardian's time.
    uint64 public immutable delay;
    /// @notice Seconds without an anchor after which anybody may freeze.
    uint64 public immutable silence;
    /// @notice A deposit this many seconds older than one anchor must be covered by the next.
    uint64 public immutable depositGrace;

    /// @notice The only address that anchors.
    address public operator;
    /// @notice Epoch of the newest anchor; 0 before the first.
    uint64 public lastEpoch;
    /// @notice Whether the vault is frozen. For ever, then.
    bool public frozen;

    /// @notice Deposits so far; the last one's number.
    uint64 public depositCount;
    /// @notice Sum of all deposits ever, in µtok. Never falls.
    uint64 public totalDeposits;
    /// @notice Sum of all claims ever paid, in µtok. Never falls.
    uint64 public totalPaid;
    /// @notice The epoch that counts after a freeze; 0 when there was none, and every deposit is refundable.
    uint64 public frozenEpoch;

    /// @notice Becomes operator when it accepts, from `pendingSince` + `delay` on; zero when nobody is proposed.
    address public pendingOperator;
    uint64 public pendingSince;

    /// @notice sha256 over (the value before ‖ epoch ‖ root ‖ head ‖ liabilities ‖ journalSize ‖ depositSeq ‖ file),
    /// numbers as u64; before the first anchor sha256(chain id u256 ‖ this address 20). One history for everybody.
    bytes32 public chainHash;

    /// @notice What an account was ever paid, in µtok: the counter that makes every claim count once.
    mapping(bytes16 account => uint64) public paidTo;

    mapping(uint64 seq => Deposit) private _deposits;
    Anchor[RING_SIZE] private _ring;

    event Deposited(
        uint64 indexed seq, bytes16 indexed account, address indexed from, uint64 amount, uint64 total
    );
    event Anchored(
        uint64 indexed epoch,
        bytes32 root,
        bytes32 head,
        uint64 liabilities,
        uint64 journalSize,
        uint64 depositSeq,
        bytes20 file,
        bytes32 chain
    );
    event Claimed(
        bytes16 indexed account, address indexed payout, uint64 amount, uint64 paid, uint64 epoch
    );
    event Frozen(uint64 indexed epoch, uint64 depositSeq, address by);
    event Refunded(uint64 indexed seq, address indexed to, uint64 amount);
    event OperatorProposed(address indexed by, address proposed, uint64 acceptableFrom);
    event OperatorChanged(address indexed from, address to);

    /// Constructor: the token's address has no code.
    error NotAToken(address token);
    /// Constructor: a key is zero, or operator and guardian are the same.
    error BadKeys(address operator, address guardian);
    /// Constructor: a time is zero or above MAX_SECONDS.
    error BadSeconds(uint64 minInterval, uint64 delay, uint64 silence, uint64 depositGrace);
    /// Constructor: a stolen operator's key could push every good root out of the ring in time.
    error RingTooShort(uint256 ringSeconds, uint256 neededSeconds);
    /// Constructor: anybody could freeze between two punctual anchors, or before the last one is final.
    error SilenceTooShort(uint64 silence, uint256 neededSeconds);

    /// Nothing but claims and refunds after a freeze.
    error IsFrozen();
    /// Refunds exist after a freeze only.
    error NotFrozen();
    /// The caller is not the operator.
    error NotOperator(address caller);
    /// The caller is not the address that the operator proposed.
    error NotPendingOperator(address caller);
    /// Not before this time.
    error TooEarly(uint256 notBefore);
    /// A deposit of nothing, or for no account.
    error NothingToDeposit();
    /// Deposits would sum up to more than 63 bits hold.
    error TooManyDeposits(uint256 total);
    /// The token did not move exactly this amount into or out of the vault.
    error TokenNotMoved(uint256 amount);
    /// Epochs are anchored one after the other.
    error WrongEpoch(uint64 epoch, uint64 expected);
    /// The journal only grows.
    error JournalShrank(uint64 journalSize, uint64 before);
    /// What is covered stays covered.
    error CoverageShrank(uint64 depositSeq, uint64 before);
    /// There is no such deposit.
    error UnknownDeposit(uint64 seq, uint64 count);
    /// More would be owed than was ever deposited.
    error LiabilitiesAboveDeposits(uint64 liabilities, uint64 deposits);
    /// This deposit is old, and the anchor does not cover it.
    error DepositUncovered(uint64 seq);
    /// Not one of the last RING_SIZE epochs.
    error UnknownEpoch(uint64 epoch);
    /// The epoch is later than the frozen one and counts no more.
    error EpochAfterFreeze(uint64 epoch, uint64 frozenEpoch);
    /// The leaf names no payout address.
    error NoPayout();
    /// The path leads to another root: another leaf, vault, chain, epoch or position.
    error RootDiffers(bytes32 computed, bytes32 anchored);
    /// The path's sum is not what the operator anchored as owed.
    error SumDiffers(uint256 computed, uint64 anchored);
    /// The account already has what this proof entitles it to.
    error NothingDue(uint64 paid, uint256 entitled);
    /// Claims may not reach into deposits that no final epoch covers. Only after a false anchor.
    error ClaimsAboveDeposits(uint256 paid, uint64 covered);
    /// The frozen epoch covers this deposit: it is in somebody's balance.
    error DepositCovered(uint64 seq, uint64 depositSeq);
    /// This deposit was refunded before.
    error AlreadyRefunded(uint64 seq);

    /// @param token_ a TRC-20 that moves exactly what it is told to
    /// @param minInterval_ seconds; RING_SIZE − 1 of them must exceed twice `delay_`
    /// @param delay_ seconds; also what is granted to the guardian for a reaction, and to a change of operator
    /// @param silence_ seconds; above `delay_` and above twice `minInterval_`
    /// @param depositGrace_ seconds; well above the time until a block is solid (a minute)
    constructor(
        address token_,
        address operator_,
        address guardian_,
        uint64 minInterval_,
        uint64 delay_,
        uint64 silence_,
        uint64 depositGrace_
    ) {
        if (token_.code.length == 0) revert NotAToken(token_);
        if (operator_ == address(0) || guardian_ == address(0) || operator_ == guardian_) {
            revert BadKeys(operator_, guardian_);
        }
        if (
            minInterval_ == 0 || delay_ == 0 || depositGrace_ == 0 || minInterval_ > MAX_SECONDS
                || delay_ > MAX_SECONDS || silence_ > MAX_SECONDS || depositGrace_ > MAX_SECONDS
        ) revert BadSeconds(minInterval_, delay_, silence_, depositGrace_);

        // With a stolen key, RING_SIZE roots can be anchored in RING_SIZE − 1 intervals. If that took less than
        // `delay`, no good root would be left once the first false one is final, and a freeze would have nothing
        // good to go back to. The other `delay` is the guardian's reaction time, and the time that is left to
        // everybody to claim against the last good root before it leaves the ring.
        uint256 ringSeconds = (RING_SIZE - 1) * uint256(minInterval_);
        if (ringSeconds <= 2 * uint256(delay_)) revert RingTooShort(ringSeconds, 2 * uint256(delay_));

        // Longer than `delay`: what anybody freezes to after silence is the last epoch, which is final then.
        uint256 needed = delay_ > 2 * minInterval_ ? delay_ : 2 * minInterval_;
        if (silence_ <= needed) revert SilenceTooShort(silence_, needed);

        token = ITRC20(token_);
        guardian = guardian_;
        minInterval = minInterval_;
        delay = delay_;
        silence = silence_;
        depositGrace = depositGrace_;
        operator = operator_;
        chainHash = sha256(abi.encodePacked(block.chainid, address(this)));

        // Each slot is paid for as new (20,000 energy) here, so that the first anchors cost what all others do.
        for (uint256 i = 0; i < RING_SIZE; ++i) {
            _ring[i] = Anchor(bytes32(uint256(1)), bytes32(uint256(1)), 0, 0, 0, uint64(block.timestamp));
        }
        emit OperatorChanged(address(0), operator_);
    }

    // ------------------------------------------------------------------------------------------ money in

    /// @notice Takes `amount` µtok, approved before, from the caller, for `account` of the ledger.
    /// WARNING: nobody checks on chain that the account is yours, or anybody's.
    /// @param account the ledger's account id, 16 bytes, not zero
    function deposit(uint64 amount, bytes16 account) external {
        if (frozen) revert IsFrozen();
        if (amount == 0 || account == 0) revert NothingToDeposit();
        uint256 total = uint256(totalDeposits) + amount;
        if (total > SumTree.MAX_SUM) revert TooManyDeposits(total);

        uint64 seq = depositCount + 1;
        depositCount = seq;
        totalDeposits = uint64(total);
        _deposits[seq] = Deposit(msg.sender, uint64(total), uint32(block.timestamp));
        emit Deposited(seq, account, msg.sender, amount, uint64(total));

        uint256 before = token.balanceOf(address(this));
        token.transferFrom(msg.sender, address(this), amount);
        if (token.balanceOf(address(this)) != before + amount) revert TokenNotMoved(amount);
    }

    // ------------------------------------------------------------------------------------------- anchors

    /// @notice Commits the ledger to one epoch. The operator's.
    /// @dev Against deposits ever made, never against the token's balance, which falls with each claim while
    /// `withdrawable` in the leaves does not. An anchor that was acceptable once stays so until the next one or a
    /// freeze: no rule looks at how late it is. So an epoch that was closed before an outage can be anchored after.
    /// @param epoch the last one + 1
    /// @param root of the sum tree; zero when it has no leaves
    /// @param head hash of the signed head, `speedpay/proof/head.py`
    /// @param liabilities sum of the tree: withdrawable + balance of all leaves, in µtok
    /// @param journalSize entries of the ledger's journal
    /// @param depositSeq all deposits up to this one are in the tree
    /// @param file BitTorrent v1 infohash of the epoch's leaves
    function anchor(
        uint64 epoch,
        bytes32 root,
        bytes32 head,
        uint64 liabilities,
        uint64 journalSize,
        uint64 depositSeq,
        bytes20 file
    ) external {
        if (frozen) revert IsFrozen();
        if (msg.sender != operator) revert NotOperator(msg.sender);
        uint64 last = lastEpoch;
        if (epoch != last + 1) revert WrongEpoch(epoch, last + 1);

        Anchor storage previous = _ring[last % RING_SIZE];
        uint64 previousTime = previous.time;
        // The first epoch has no anchor before it, only the deployment.
        if (last != 0 && block.timestamp < previousTime + minInterval) {
            revert TooEarly(previousTime + minInterval);
        }
        if (journalSize < previous.journalSize) {
            revert JournalShrank(journalSize, previous.journalSize);
        }
        if (depositSeq < previous.depositSeq) {
            revert CoverageShrank(depositSeq, previous.depositSeq);
        }
        uint64 count = depositCount;
        if (depositSeq > count) revert UnknownDeposit(depositSeq, count);
        uint64 covered = _deposits[depositSeq].total;
        if (liabilities > covered) revert LiabilitiesAboveDeposits(liabilities, covered);
        // Measured at the previous anchor, not now. The ledger closes an epoch after it has seen the one before on
        // chain; a deposit that turns old between closing and anchoring must not make the closed epoch, of which
        // there is only one content ever, unacceptable for good.
        if (depositSeq < count && _deposits[depositSeq + 1].time + depositGrace < previousTime) {
            revert DepositUncovered(depositSeq + 1);
        }

        lastEpoch = epoch;
        _ring[epoch % RING_SIZE] =
            Anchor(root, head, liabilities, journalSize, depositSeq, uint64(block.timestamp));
        bytes32 chain = sha256(
            abi.encodePacked(chainHash, epoch, root, head, liabilities, journalSize, depositSeq, file)
        );
        chainHash = chain;
        emit Anchored(epoch, root, head, liabilities, journalSize, depositSeq, file, chain);
    }

    /// @notice One of the last RING_SIZE anchors. Older ones are in the events.
    /// @return root of the sum tree
    /// @return head hash of the signed head
    /// @return liabilities µtok
    /// @return journalSize entries
    /// @return depositSeq last covered deposit
    /// @return time of the anchor, seconds
    function anchorOf(uint64 epoch)
        external
        view
        returns (
            bytes32 root,
            bytes32 head,
            uint64 liabilities,
            uint64 journalSize,
            uint64 depositSeq,
            uint64 time
        )
    {
        Anchor storage kept = _anchorOf(epoch);
        return (kept.root, kept.head, kept.liabilities, kept.journalSize, kept.depositSeq, kept.time);
    }

    /// @notice One deposit. `from` is zero once it is refunded.
    function depositOf(uint64 seq)
        external
        view
        returns (address from, uint64 amount, uint64 total, uint64 time)
    {
        if (seq == 0 || seq > depositCount) revert UnknownDeposit(seq, depositCount);
        Deposit storage made = _deposits[seq];
        return (made.from, made.total - _deposits[seq - 1].total, made.total, made.time);
    }

    // ----------------------------------------------------------------------------------------- money out

    /// @notice Pays what a leaf of a final epoch entitles its account to and has not yet been paid, to the leaf's
    /// payout address. Anybody may call, and pays the fee. Before a freeze that is `withdrawable`; after it, for a leaf
    /// of the frozen epoch, `withdrawable` + `balance`.
    /// @dev No nonce: what was paid to an account only grows, so a proof that is repeated has nothing due, and an
    /// account with two leaves gets the larger of the two, not both.
    /// @param position of the leaf in the tree
    /// @param hashes the siblings' hashes, the leaf's level first; at most 40
    /// @param sums the siblings' sums
    function claim(
        bytes16 account,
        address payout,
        uint64 withdrawable,
        uint64 balance,
        bytes32 salt,
        uint64 epoch,
        uint64 position,
        bytes32[] calldata hashes,
        uint64[] calldata sums
    ) external {
        if (payout == address(0)) revert NoPayout();
        {
            (bytes32 root, uint256 sum) = SumTree.climb(
                SumTree.leaf(account, payout, withdrawable, balance, salt),
                uint256(withdrawable) + balance,
                position,
                hashes,
                sums
            );
            Anchor storage kept = _claimable(epoch);
            if (root != kept.root) revert RootDiffers(root, kept.root);
            if (sum != kept.liabilities) revert SumDiffers(sum, kept.liabilities);
        }
        uint256 entitled = withdrawable;
        if (frozen && epoch == frozenEpoch) entitled += balance;
        _pay(account, payout, entitled, epoch);
    }

    /// @dev Counters first, then the token: a token that calls back finds this claim already paid.
    function _pay(bytes16 account, address payout, uint256 entitled, uint64 epoch) private {
        uint64 paid = paidTo[account];
        if (entitled <= paid) revert NothingDue(paid, entitled);
        // `entitled` is part of the liabilities, hence at most 63 bits.
        uint64 amount = uint64(entitled) - paid;
        uint256 paidToAll = uint256(totalPaid) + amount;
        uint64 covered = _deposits[_ring[_finalEpoch() % RING_SIZE].depositSeq].total;
        if (paidToAll > covered) revert ClaimsAboveDeposits(paidToAll, covered);

        paidTo[account] = uint64(entitled);
        totalPaid = uint64(paidToAll);
        emit Claimed(account, payout, amount, uint64(entitled), epoch);
        _send(payout, amount);
    }

    // ------------------------------------------------------------------------------------------- freeze

    /// @notice Ends the ledger on chain, for good, at the last final epoch. The guardian at any time; anybody once
    /// there was no anchor for longer than `silence`.
    function freeze() external {
        if (frozen) revert IsFrozen();
        if (msg.sender != guardian) {
            uint256 silentFrom = uint256(_ring[lastEpoch % RING_SIZE].time) + silence;
            if (block.timestamp <= silentFrom) revert TooEarly(silentFrom + 1);
        }
        uint64 epoch = _finalEpoch();
        frozen = true;
        frozenEpoch = epoch;
        emit Frozen(epoch, _ring[epoch % RING_SIZE].depositSeq, msg.sender);
    }

    /// @notice After a freeze: gives back a deposit that the frozen epoch does not cover, to whoever made it.
    function refund(uint64 seq) external {
        if (!frozen) revert NotFrozen();
        if (seq == 0 || seq > depositCount) revert UnknownDeposit(seq, depositCount);
        uint64 coveredSeq = _ring[frozenEpoch % RING_SIZE].depositSeq;
        if (seq <= coveredSeq) revert DepositCovered(seq, coveredSeq);
        Deposit storage made = _deposits[seq];
        address from = made.from;
        if (from == address(0)) revert AlreadyRefunded(seq);
        uint64 amount = made.total - _deposits[seq - 1].total;

        made.from = address(0);
        emit Refunded(seq, from, amount);
        _send(from, amount);
    }

    // ------------------------------------------------------------------------------------------ operator

    /// @notice First step of a change of operator; zero takes a proposal back.
    /// WARNING: a stolen key can propose as well. The owner cannot win that race: the guardian must freeze.
    function proposeOperator(address proposed) external {
        if (frozen) revert IsFrozen();
        if (msg.sender != operator) revert NotOperator(msg.sender);
        if (proposed == guardian) revert BadKeys(proposed, guardian);
        pendingOperator = proposed;
        pendingSince = uint64(block.timestamp);
        emit OperatorProposed(msg.sender, proposed, uint64(block.timestamp) + delay);
    }

    /// @notice Second step, `delay` later, by the new key itself.
    function acceptOperator() external {
        if (frozen) revert IsFrozen();
        if (msg.sender != pendingOperator) revert NotPendingOperator(msg.sender);
        uint256 acceptableFrom = uint256(pendingSince) + delay;
        if (block.timestamp < acceptableFrom) revert TooEarly(acceptableFrom);
        emit OperatorChanged(operator, msg.sender);
        operator = msg.sender;
        pendingOperator = address(0);
    }

    // ----------------------------------------------------------------------------------------- internals

    /// @dev The newest epoch that is at least `delay` old; the frozen one after a freeze; 0 when there is none.
    /// Anchors are `minInterval` apart, so fewer than RING_SIZE of them are younger than `delay`: the loop finds one
    /// in the ring, or fewer than RING_SIZE epochs exist and slot 0 is still that of the deployment.
    function _finalEpoch() private view returns (uint64) {
        if (frozen) return frozenEpoch;
        uint64 last = lastEpoch;
        for (uint64 age = 0; age < RING_SIZE && age < last; ++age) {
            if (_ring[(last - age) % RING_SIZE].time + delay <= block.timestamp) return last - age;
        }
        return 0;
    }

    function _anchorOf(uint64 epoch) private view returns (Anchor storage) {
        uint64 last = lastEpoch;
        if (epoch == 0 || epoch > last || last - epoch >= RING_SIZE) revert UnknownEpoch(epoch);
        return _ring[epoch % RING_SIZE];
    }

    function _claimable(uint64 epoch) private view returns (Anchor storage kept) {
        kept = _anchorOf(epoch);
        if (frozen && epoch > frozenEpoch) revert EpochAfterFreeze(epoch, frozenEpoch);
        uint256 finalFrom = uint256(kept.time) + delay;
        if (block.timestamp < finalFrom) revert TooEarly(finalFrom);
    }

    /// @dev Believes the balance, not the answer: USDT on TRON returns false from a `transfer` that moved the money,
    /// old tokens return nothing, and others keep a fee. Counters were written before.
    function _send(address to, uint256 amount) private {
        uint256 before = token.balanceOf(address(this));
        token.transfer(to, amount);
        if (token.balanceOf(address(this)) + amount != before) revert TokenNotMoved(amount);
    }
}
