// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Parameters} from "./Parameters.sol";

/// @title The rollup's sequencers: their bonds, and whose turn it is to post
/// @dev A sequencer is listed while its bond is at least `minBond`. Nothing loops over the list.
abstract contract Sequencers {
    /// @notice What a sequencer put up.
    /// @param amount In wei.
    /// @param batchesTo One past its newest batch; the bond stays until that many are final, or taken back.
    /// @param epoch How often it was slashed: each of its batches stands on the bond of one epoch.
    /// @param place Its place in the list, from 1; 0 if it isn't there.
    struct Bond {
        uint128 amount;
        uint64 batchesTo;
        uint32 epoch;
        uint32 place;
    }

    /// @notice The least bond of a sequencer, in wei.
    uint128 public immutable minBond;
    /// @notice After how many batches a leader's turn ends.
    uint64 public immutable turnBatches;
    /// @notice After how many seconds it ends.
    uint64 public immutable turnSeconds;
    /// @notice How long the next in turn alone may begin its own, in seconds.
    uint64 public immutable turnGrace;
    /// @dev How long a bond stays once it is listed or its owner's turn began, in seconds: the challenge window.
    uint64 private immutable _stay;

    /// @notice How many batches stand; the next one's id.
    uint256 public count;
    /// @notice How many of them are final.
    uint256 public finalCount;
    /// @notice Whose turn it is, or was last; 0 before the first one and after a fraud.
    address public leader;
    /// @notice When that turn began, in seconds.
    uint64 public turnStartedAt;
    /// @notice The id of its first batch.
    uint256 public turnFirstBatch;
    /// @notice What each sequencer put up.
    mapping(address sequencer => Bond bond) public bonds;
    /// @notice Until when each bond stays whatever its owner posted, in seconds. Who leaves and comes back joins at the end of
    /// the list; without this, two seats that leave and come back by turns would keep everyone else from ever being next.
    mapping(address sequencer => uint256 time) public bondStaysUntil;
    /// @notice Everyone whose bond is large enough; turns go round.
    address[] public sequencers;

    /// @notice Another sequencer leads; nobody does if it is 0.
    event LeaderChanged(address indexed leader);
    /// @notice A sequencer added to its bond.
    event BondDeposited(address indexed sequencer, uint256 amount, uint256 total);
    /// @notice A sequencer took its bond back.
    event BondWithdrawn(address indexed sequencer, uint256 amount);

    /// @notice The sender's bond is below `minBond`.
    error BondTooSmall(uint256 bonded);
    /// @notice It is another sequencer's turn: the leader's, or, when its turn ended, the next one's.
    error NotLeader(address leader);
    /// @notice The sender has no bond.
    error NoBond();
    /// @notice The sender's newest batch is not final.
    error BondLocked(uint256 untilFinalCount);
    /// @notice The sender joined the list, or began a turn, too short a time ago.
    error BondStays(uint256 until);
    /// @notice The receiver refused its ether.
    error EtherRefused();

    constructor(Parameters memory parameters) {
        minBond = parameters.minBond;
        turnBatches = parameters.turnBatches;
        turnSeconds = parameters.turnSeconds;
        turnGrace = parameters.turnGrace;
        _stay = parameters.challengeWindow;
    }

    /// @notice Adds to the sender's bond; from `minBond` on the sender has turns.
    function depositBond() external payable {
        Bond storage bond = bonds[msg.sender];
        bond.amount += uint128(msg.value);
        if (bond.place == 0 && bond.amount >= minBond) {
            sequencers.push(msg.sender);
            bond.place = uint32(sequencers.length);
            bondStaysUntil[msg.sender] = block.timestamp + _stay;
        }
        emit BondDeposited(msg.sender, msg.value, bond.amount);
    }

    /// @notice Returns the sender's whole bond, once its newest batch is final or taken back, and a challenge window after it
    /// joined the list and its last turn began.
    function withdrawBond() external {
        Bond storage bond = bonds[msg.sender];
        uint256 amount = bond.amount;
        if (amount == 0) revert NoBond();
        // Batches beyond `count` were taken back: their submitter was slashed if guilty, and is free if only cut off.
        uint256 answersTo = bond.batchesTo < count ? bond.batchesTo : count;
        if (answersTo > finalCount) revert BondLocked(answersTo);
        if (block.timestamp < bondStaysUntil[msg.sender]) revert BondStays(bondStaysUntil[msg.sender]);
        _unlist(bond);
        emit BondWithdrawn(msg.sender, amount);
        _payEther(msg.sender, amount);
    }

    /// @notice Begins the sender's turn without a batch, where it may post: from then on it is known to lead. A turn that
    /// hasn't ended just goes on.
    function takeTurn() external {
        _checkMayPost();
        _lead();
    }

    /// @notice Whether a batch of this sequencer would be taken in this block, as far as it depends on whose it is.
    /// @param sequencer Its address.
    function mayPost(address sequencer) public view returns (bool) {
        if (bonds[sequencer].place == 0) return false;
        if (bonds[leader].place == 0 || isOverdue()) return true;
        uint256 endsAt = turnEndsAt();
        if (block.timestamp < endsAt) return sequencer == leader;
        if (sequencer == nextLeader() || block.timestamp > endsAt + turnGrace) return true;
        return sequencer == leader && sequencers.length == 1;
    }

    /// @notice Who is next when the leader's turn ends; the leader itself where it is alone, 0 where nobody leads.
    function nextLeader() public view returns (address) {
        uint256 place = bonds[leader].place;
        return place == 0 ? address(0) : sequencers[place % sequencers.length];
    }

    /// @notice When the leader's turn ends or ended, in seconds; means nothing where nobody leads.
    function turnEndsAt() public view returns (uint256 endsAt) {
        endsAt = uint256(turnStartedAt) + turnSeconds;
        uint256 last = turnFirstBatch + turnBatches - 1;
        if (last < count && _postedAt(last) < endsAt) endsAt = _postedAt(last);
    }

    /// @notice How many sequencers have a bond that is large enough.
    function sequencerCount() external view returns (uint256) {
        return sequencers.length;
    }

    /// @notice Whether anyone with a bond may post now, because the inbox is left waiting.
    function isOverdue() public view virtual returns (bool);

    /// @dev When a standing batch was posted, in seconds.
    function _postedAt(uint256 id) internal view virtual returns (uint256);

    /// @dev Reverts unless the sender may post.
    function _checkMayPost() internal view {
        if (mayPost(msg.sender)) return;
        uint256 bonded = bonds[msg.sender].amount;
        if (bonded < minBond) revert BondTooSmall(bonded);
        revert NotLeader(block.timestamp < turnEndsAt() ? leader : nextLeader());
    }

    /// @dev The sender's turn goes on, or a new one begins.
    function _lead() internal {
        if (leader != msg.sender || block.timestamp >= turnEndsAt()) _startTurn();
    }

    /// @dev Nobody leads.
    function _endTurn() internal {
        leader = address(0);
        emit LeaderChanged(address(0));
    }

    /// @dev Takes a whole bond away, and its owner out of the list.
    function _unlist(Bond storage bond) internal {
        uint32 place = bond.place;
        bond.amount = 0;
        if (place == 0) return;
        bond.place = 0;
        address last = sequencers[sequencers.length - 1];
        sequencers.pop();
        if (place <= sequencers.length) {
            sequencers[place - 1] = last;
            bonds[last].place = place;
        }
    }

    /// @dev Pays ether, after every change of state.
    function _payEther(address to, uint256 amount) internal {
        (bool success,) = to.call{value: amount}("");
        if (!success) revert EtherRefused();
    }

    function _startTurn() private {
        turnStartedAt = uint64(block.timestamp);
        turnFirstBatch = count;
        bondStaysUntil[msg.sender] = block.timestamp + _stay;
        if (leader == msg.sender) return;
        leader = msg.sender;
        emit LeaderChanged(msg.sender);
    }
}
