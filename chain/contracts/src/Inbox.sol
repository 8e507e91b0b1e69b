// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Asset, IERC20, IERC20Permit} from "./Asset.sol";
import {ISemver} from "./ISemver.sol";

/// @title What the inbox asks of the rollup
interface IFreezable {
    /// @notice When the rollup froze, in seconds; 0 while it runs.
    function frozenAt() external view returns (uint64);
}

/// @title The rollup's L1 inbox: an append-only list of messages that every sequencer must execute in order
/// @notice A deposit's money goes straight to the rollup contract, which alone can pay it out; the inbox holds nothing.
/// An invalid message is a no-op on L2, so nothing here depends on L2 state.
/// @dev Each message is kept with the second and the block it arrived in and a running hash of every content up to it:
/// enough to check a sequenced batch against it, to hold a batch to the very messages it was built on, and to find a
/// message's event without searching the chain.
contract Inbox is ISemver {
    /// @inheritdoc ISemver
    string public constant version = "2.0.0";

    using Asset for IERC20;

    /// @notice What is kept of a message.
    /// @param hash `keccak(hash of the message before ‖ hash of its content)`, where the first has zero before it.
    /// @param timestamp When it arrived, in seconds.
    /// @param blockNumber The block whose log carries its content.
    /// @param kind What it asks for: `DEPOSIT` or `FORCED`.
    struct Message {
        bytes32 hash;
        uint64 timestamp;
        uint64 blockNumber;
        uint8 kind;
    }

    /// @notice The kind of a deposit.
    uint8 public constant DEPOSIT = 1;
    /// @notice The kind of an L2 transaction that no sequencer can leave out.
    uint8 public constant FORCED = 2;
    /// @notice The longest transaction that can be forced, so that every message can be re-executed in a proof.
    uint256 public constant MAX_FORCED_BYTES = 288;

    /// @notice The settlement asset.
    IERC20 public immutable asset;
    /// @notice The rollup, which keeps every deposit.
    address public immutable rollup;
    /// @notice The asset's smallest units in one nano; 1 where a unit is worth several.
    uint256 public immutable unitsPerNano;
    /// @notice Nano in the asset's smallest unit; 1 where a nano has several.
    uint256 public immutable nanoPerUnit;

    Message[] private _messages;

    /// @notice Money arrived for an L2 account.
    /// @param index The message's place in the inbox.
    /// @param owner Who is credited on L2.
    /// @param sender Who paid on L1.
    /// @param indexHint The owner's L2 account index where the sender knows it; any other value allocates an account.
    /// @param amountNano The amount in nano.
    /// @param timestamp When, in seconds.
    event Deposited(
        uint64 indexed index,
        address indexed owner,
        address indexed sender,
        uint32 indexHint,
        uint64 amountNano,
        uint64 timestamp
    );

    /// @notice An L2 transaction must be executed.
    /// @param index The message's place in the inbox.
    /// @param sender Who sent it on L1; it needs nobody's leave.
    /// @param body The transaction's bytes.
    /// @param timestamp When, in seconds.
    event Forced(uint64 indexed index, address indexed sender, bytes body, uint64 timestamp);

    /// @notice A forced transaction has 1 to `MAX_FORCED_BYTES` bytes.
    error WrongBodyLength(uint256 length);
    /// @notice The rollup froze, and executes nothing any more.
    error RollupFrozen();
    /// @notice A deposit of nothing would grow the inbox for free.
    error ZeroAmount();
    /// @notice The amount is no multiple of the asset's smallest unit.
    error NotWholeUnits(uint256 nanoPerUnit);
    /// @notice No key owns the zero address, so its money would be lost.
    error ZeroOwner();
    /// @notice So many messages haven't arrived yet.
    error NoSuchMessages(uint256 length);

    /// @param asset_ The settlement asset.
    /// @param unitsPerNano_ The asset's smallest units in one nano, or 1.
    /// @param nanoPerUnit_ Nano in the asset's smallest unit, or 1.
    constructor(IERC20 asset_, uint256 unitsPerNano_, uint256 nanoPerUnit_) {
        asset = asset_;
        unitsPerNano = unitsPerNano_;
        nanoPerUnit = nanoPerUnit_;
        rollup = msg.sender;
    }

    /// @notice Pays `amountNano` into the rollup for `owner`; the caller must have approved this contract for the units.
    /// @param owner Who is credited on L2.
    /// @param indexHint The owner's L2 account index, or any other value to allocate one.
    /// @param amountNano The amount in nano.
    /// @return index The message's place in the inbox.
    function deposit(address owner, uint32 indexHint, uint64 amountNano) public returns (uint64 index) {
        if (amountNano == 0) revert ZeroAmount();
        if (amountNano % nanoPerUnit != 0) revert NotWholeUnits(nanoPerUnit);
        if (owner == address(0)) revert ZeroOwner();
        uint64 timestamp = uint64(block.timestamp);
        index = uint64(_messages.length);
        _append(DEPOSIT, depositHash(owner, indexHint, amountNano));
        emit Deposited(index, owner, msg.sender, indexHint, amountNano, timestamp);
        asset.pull(msg.sender, rollup, _units(amountNano));
    }

    /// @notice Like `deposit`, with the caller's approval as a signature (EIP-2612): one transaction, and no allowance that
    /// another deposit could use up.
    /// @dev A permit that somebody else sent first has done its work; without one the asset refuses the money.
    /// @param owner Who is credited on L2.
    /// @param indexHint The owner's L2 account index, or any other value to allocate one.
    /// @param amountNano The amount in nano.
    /// @param deadline Until when the signature holds, in seconds.
    /// @param v Of the signature.
    /// @param r Of the signature.
    /// @param s Of the signature.
    /// @return index The message's place in the inbox.
    function depositWithPermit(
        address owner,
        uint32 indexHint,
        uint64 amountNano,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external returns (uint64 index) {
        IERC20Permit permitting = IERC20Permit(address(asset));
        try permitting.permit(msg.sender, address(this), _units(amountNano), deadline, v, r, s) {} catch {}
        return deposit(owner, indexHint, amountNano);
    }

    /// @notice Makes every sequencer execute an L2 transaction, or at least move past it if it is invalid by then.
    /// @param body The transaction's bytes, signed as for any sequencer; 1 to `MAX_FORCED_BYTES`.
    /// @return index The message's place in the inbox.
    function forceTx(bytes calldata body) external returns (uint64 index) {
        if (body.length == 0 || body.length > MAX_FORCED_BYTES) revert WrongBodyLength(body.length);
        uint64 timestamp = uint64(block.timestamp);
        index = uint64(_messages.length);
        _append(FORCED, forcedHash(body));
        emit Forced(index, msg.sender, body, timestamp);
    }

    /// @notice How many messages ever arrived; the next one's index.
    function length() external view returns (uint256) {
        return _messages.length;
    }

    /// @notice Up to `limit` messages from index `start` on; fewer at the end, none beyond it.
    /// @param start The first message's index.
    /// @param limit How many at most.
    /// @return page The messages in their order.
    function messages(uint256 start, uint256 limit) external view returns (Message[] memory page) {
        uint256 total = _messages.length;
        if (start >= total) return page;
        uint256 size = total - start < limit ? total - start : limit;
        page = new Message[](size);
        for (uint256 i = 0; i < size; ++i) {
            page[i] = _messages[start + i];
        }
    }

    /// @notice The hash of all contents up to a length, which a batch that executes so many messages must name.
    /// @dev Not of the seconds they arrived in: those change nothing on L2, and an L1 reorg may change them.
    /// @param count How many messages.
    function hashOf(uint256 count) external view returns (bytes32) {
        if (count > _messages.length) revert NoSuchMessages(_messages.length);
        return _hashOf(count);
    }

    /// @notice The hash of a deposit's content: `keccak(kind1 ‖ owner20 ‖ hint4 ‖ amount8)`.
    /// @param owner Who is credited on L2.
    /// @param indexHint The owner's L2 account index or another value.
    /// @param amountNano The amount in nano.
    function depositHash(address owner, uint32 indexHint, uint64 amountNano) public pure returns (bytes32) {
        return keccak256(abi.encodePacked(DEPOSIT, owner, indexHint, amountNano));
    }

    /// @notice The hash of a forced transaction's content: `keccak(kind1 ‖ body)`.
    /// @param body The transaction's bytes.
    function forcedHash(bytes calldata body) public pure returns (bytes32) {
        return keccak256(abi.encodePacked(FORCED, body));
    }

    /// @notice Whether a message is a deposit of exactly this content.
    /// @param index The message's place in the inbox.
    /// @param owner Who is credited on L2.
    /// @param indexHint The owner's L2 account index or another value.
    /// @param amountNano The amount in nano.
    function isDeposit(uint256 index, address owner, uint32 indexHint, uint64 amountNano)
        external
        view
        returns (bool)
    {
        if (index >= _messages.length) return false;
        return _messages[index].hash == _chained(_hashOf(index), depositHash(owner, indexHint, amountNano));
    }

    /// @notice When a message arrived, in seconds; 0 for one that hasn't yet.
    /// @param index The message's place in the inbox.
    function arrivedAt(uint256 index) external view returns (uint64) {
        return index < _messages.length ? _messages[index].timestamp : 0;
    }

    /// @notice Whether packed contents are exactly those of consecutive messages.
    /// @dev The hash after the last says it of all of them, and is all that has to be read. The seconds are not looked at,
    /// since nothing on L2 depends on them.
    /// @param from The first message's index.
    /// @param count How many there are.
    /// @param packed Their contents, one after the other: `kind1 timestamp8`, then `owner20 hint4 amount8` of a deposit, or
    /// `length2 body` of a forced transaction.
    function holds(uint256 from, uint256 count, bytes calldata packed) external view returns (bool) {
        if (from + count > _messages.length) return false;
        bytes32 hash = _hashOf(from);
        uint256 offset;
        for (uint256 i = 0; i < count; ++i) {
            // The two bytes beyond a deposit's head lie within its content.
            if (packed.length < offset + 11) return false;
            uint8 kind = uint8(packed[offset]);
            uint256 start = kind == FORCED ? offset + 11 : offset + 9;
            uint256 end = kind == FORCED ? start + uint16(bytes2(packed[offset + 9:offset + 11])) : start + 32;
            if (packed.length < end) return false;
            hash = _chained(hash, keccak256(abi.encodePacked(kind, packed[start:end])));
            offset = end;
        }
        return offset == packed.length && hash == _hashOf(from + count);
    }

    function _units(uint256 amountNano) private view returns (uint256) {
        return amountNano * unitsPerNano / nanoPerUnit;
    }

    function _hashOf(uint256 count) private view returns (bytes32) {
        return count == 0 ? bytes32(0) : _messages[count - 1].hash;
    }

    function _chained(bytes32 previous, bytes32 contentHash) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(previous, contentHash));
    }

    function _append(uint8 kind, bytes32 contentHash) private {
        if (IFreezable(rollup).frozenAt() != 0) revert RollupFrozen();
        _messages.push(
            Message({
                hash: _chained(_hashOf(_messages.length), contentHash),
                timestamp: uint64(block.timestamp),
                blockNumber: uint64(block.number),
                kind: kind
            })
        );
    }
}
