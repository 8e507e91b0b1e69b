// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Asset, IERC20} from "./Asset.sol";

/// @title The rollup's L1 inbox: an append-only list of messages that every sequencer must execute in order
/// @notice A deposit's money goes straight to the rollup contract, which alone can pay it out; the inbox holds nothing.
/// An invalid message is a no-op on L2, so nothing here depends on L2 state.
/// @dev Each message is kept as the hash of its content with the second and the block it arrived in: enough to check a
/// sequenced batch against it, and to find its event without searching the chain.
contract Inbox {
    using Asset for IERC20;

    /// @notice What is kept of a message.
    /// @param hash Of its whole content, see `depositHash`.
    /// @param timestamp When it arrived, in seconds.
    /// @param blockNumber The block whose log carries its content.
    /// @param kind What it asks for: `DEPOSIT`.
    struct Message {
        bytes32 hash;
        uint64 timestamp;
        uint64 blockNumber;
        uint8 kind;
    }

    /// @notice The kind of a deposit. Kind 2 belongs to forced transactions of at most 128 bytes.
    uint8 public constant DEPOSIT = 1;

    /// @notice The settlement asset.
    IERC20 public immutable asset;
    /// @notice The rollup, which keeps every deposit.
    address public immutable rollup;
    /// @notice The asset's smallest units in one nano.
    uint256 public immutable unitsPerNano;

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

    /// @notice A deposit of nothing would grow the inbox for free.
    error ZeroAmount();
    /// @notice No key owns the zero address, so its money would be lost.
    error ZeroOwner();

    /// @param asset_ The settlement asset.
    /// @param unitsPerNano_ The asset's smallest units in one nano.
    constructor(IERC20 asset_, uint256 unitsPerNano_) {
        asset = asset_;
        unitsPerNano = unitsPerNano_;
        rollup = msg.sender;
    }

    /// @notice Pays `amountNano` into the rollup for `owner`; the caller must have approved this contract for the units.
    /// @param owner Who is credited on L2.
    /// @param indexHint The owner's L2 account index, or any other value to allocate one.
    /// @param amountNano The amount in nano.
    /// @return index The message's place in the inbox.
    function deposit(address owner, uint32 indexHint, uint64 amountNano) external returns (uint64 index) {
        if (amountNano == 0) revert ZeroAmount();
        if (owner == address(0)) revert ZeroOwner();
        index = uint64(_messages.length);
        uint64 timestamp = uint64(block.timestamp);
        _messages.push(
            Message({
                hash: depositHash(index, timestamp, owner, indexHint, amountNano),
                timestamp: timestamp,
                blockNumber: uint64(block.number),
                kind: DEPOSIT
            })
        );
        emit Deposited(index, owner, msg.sender, indexHint, amountNano, timestamp);
        asset.pull(msg.sender, rollup, uint256(amountNano) * unitsPerNano);
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

    /// @notice The hash that stands for a deposit: `keccak(kind1 ‖ index8 ‖ timestamp8 ‖ owner20 ‖ hint4 ‖ amount8)`.
    /// @param index The message's place in the inbox.
    /// @param timestamp When it arrived, in seconds.
    /// @param owner Who is credited on L2.
    /// @param indexHint The owner's L2 account index or another value.
    /// @param amountNano The amount in nano.
    function depositHash(uint64 index, uint64 timestamp, address owner, uint32 indexHint, uint64 amountNano)
        public
        pure
        returns (bytes32)
    {
        return keccak256(abi.encodePacked(DEPOSIT, index, timestamp, owner, indexHint, amountNano));
    }
}
