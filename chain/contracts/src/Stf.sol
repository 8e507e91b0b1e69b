// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Channels} from "./Channels.sol";
import {Codes} from "./Codes.sol";
import {ISemver} from "./ISemver.sol";
import {IStf} from "./IStf.sol";
import {Leaf, Leaves} from "./Leaves.sol";
import {Machine, Machines, Tx} from "./Machine.sol";
import {Payments} from "./Payments.sol";
import {Stakes} from "./Stakes.sol";
import {State, Witness} from "./Witness.sol";

/// @title The state transition: one frame, re-executed in one call
/// @notice A total function over what a sequencer posted: every frame comes back as a code and a root. Only a wrong witness
/// or other inbox messages than the frame names, which are the caller's choice, revert. It agrees with `chain/stf.py` on
/// the code and on the root, in the same order of checks.
/// @dev Every check stands on a line of its own as `if (…) return …;` or `if (…) revert …;`, so that a tool can remove each in
/// turn and see that the tests notice (`tests/fuzz/mutate.py`).
contract Stf is IStf, ISemver {
    /// @inheritdoc ISemver
    string public constant version = "2.0.0";

    using Leaves for Leaf;
    using Machines for Tx;
    using Witness for State;

    /// @notice Transactions or inbox messages in one frame.
    uint256 public constant MAX_FRAME_ITEMS = 8;

    /// @dev Bytes of a transaction by its type, 16 bits each, from type 0 on.
    uint256 private constant SIZES =
        0x0005_0005_0111_0005_0051_0051_0005_0045_004d_004d_0051_0071_0065_0055_0015_0000;
    /// @dev An inbox frame's body: `00 from8 count1`.
    uint256 private constant INBOX_BODY_BYTES = 10;
    uint256 private constant DEPOSIT = 1;
    uint256 private constant FORCED = 2;
    uint256 private constant COLLECT_FEES = 14;
    /// @dev Bytes of a message: `kind1 timestamp8`, then a deposit's `owner20 hint4 amount8`, or `length2` and so many more.
    uint256 private constant MESSAGE_HEAD_BYTES = 9;
    uint256 private constant DEPOSIT_BYTES = 32;

    /// @notice The messages given aren't those that the frame executes.
    error WrongMessages();

    /// @inheritdoc IStf
    function execute(
        Context calldata context,
        bytes32 prevRoot,
        bytes calldata frame,
        bytes calldata messages,
        bytes calldata witness
    ) external pure returns (uint8 code, bytes32 root) {
        Machine memory machine;
        machine.domainSeparator = context.domainSeparator;
        machine.closeDelay = context.closeDelay;
        machine.unstakeDelay = context.unstakeDelay;
        machine.l2Time = context.l2Time;
        machine.state = Witness.open(witness);
        machine.meta = machine.state.meta();
        machine.meta.put(Leaves.L2_TIME, context.l2Time);
        code = _executeFrame(machine, frame, messages, context.inboxTo, context.isLast);
        root = machine.state.roots(prevRoot);
    }

    function _executeFrame(
        Machine memory machine,
        bytes calldata frame,
        bytes calldata messages,
        uint256 inboxTo,
        bool isLast
    ) private pure returns (uint8) {
        bool isInbox = frame.length != 0 && frame[0] == 0;
        uint8 code = isInbox
            ? _executeInbox(machine, frame, messages, inboxTo)
            : _executeTransactions(machine, frame, inboxTo);
        if (code != Codes.OK) return code;
        if (isLast && machine.meta.get(Leaves.INBOX_CURSOR) != inboxTo) return Codes.WRONG_CURSOR;
        return Codes.OK;
    }

    // --------------------------------------------------------------------------------------------- transactions

    function _executeTransactions(Machine memory machine, bytes calldata frame, uint256 inboxTo)
        private
        pure
        returns (uint8)
    {
        unchecked {
            if (machine.meta.get(Leaves.INBOX_CURSOR) != inboxTo) return Codes.INBOX_ORDER;
            if (frame.length == 0) return Codes.MALFORMED;
            (uint256 offset, uint256 end) = _bounds(frame);
            for (uint256 count = 0; offset < end; ++count) {
                if (count == MAX_FRAME_ITEMS) return Codes.TOO_MANY_IN_FRAME;
                uint256 size = _size(Tx.wrap(offset));
                if (size == 0) return Codes.UNKNOWN_TYPE;
                if (offset + size > end) return Codes.MALFORMED;
                uint8 code = _apply(machine, Tx.wrap(offset));
                if (code != Codes.OK) return code;
                offset += size;
            }
            return Codes.OK;
        }
    }

    function _apply(Machine memory machine, Tx tx_) private pure returns (uint8) {
        uint256 kind = tx_.read(0, 8);
        if (kind == 1) return Payments.createAccount(machine, tx_);
        if (kind == 2) return Payments.transfer(machine, tx_);
        if (kind == 3) return Payments.withdraw(machine, tx_);
        if (kind == 4) return Channels.open(machine, tx_);
        if (kind == 5) return Channels.topUp(machine, tx_);
        if (kind == 6) return Channels.redeem(machine, tx_);
        if (kind == 7) return Channels.closeTogether(machine, tx_);
        if (kind == 8) return Channels.startClose(machine, tx_);
        if (kind == 9) return Channels.expire(machine, tx_);
        if (kind == 10) return Stakes.stake(machine, tx_);
        if (kind == 11) return Stakes.unstake(machine, tx_);
        if (kind == 12) return Stakes.finishUnstake(machine, tx_);
        if (kind == 13) return Stakes.slash(machine, tx_);
        if (kind == COLLECT_FEES) return Payments.collectFees(machine, tx_);
        return Payments.prune(machine, tx_);
    }

    /// @dev Bytes of a transaction by its first one; 0 where no type is so.
    function _size(Tx tx_) private pure returns (uint256) {
        return (SIZES >> (tx_.read(0, 8) << 4)) & 0xffff;
    }

    // ---------------------------------------------------------------------------------------------------- inbox

    function _executeInbox(Machine memory machine, bytes calldata frame, bytes calldata messages, uint256 inboxTo)
        private
        pure
        returns (uint8)
    {
        unchecked {
            if (frame.length != INBOX_BODY_BYTES) return Codes.MALFORMED;
            (uint256 offset,) = _bounds(frame);
            uint256 start = Tx.wrap(offset).read(1, 64);
            uint256 count = Tx.wrap(offset).read(9, 8);
            if (count > MAX_FRAME_ITEMS) return Codes.TOO_MANY_IN_FRAME;
            if (start != machine.meta.get(Leaves.INBOX_CURSOR)) return Codes.INBOX_ORDER;
            if (count == 0) return Codes.INBOX_ORDER;
            if (start + count > inboxTo) return Codes.INBOX_ORDER;
            _executeMessages(machine, messages, count);
            machine.meta.put(Leaves.INBOX_CURSOR, start + count);
            return Codes.OK;
        }
    }

    /// @dev An invalid message changes nothing: the leaves are saved before each, and brought back after one that fails.
    function _executeMessages(Machine memory machine, bytes calldata messages, uint256 count) private pure {
        unchecked {
            (uint256 offset, uint256 end) = _bounds(messages);
            uint256 saved;
            for (uint256 i = 0; i < count; ++i) {
                saved = machine.state.save(saved);
                Tx message = Tx.wrap(offset);
                uint256 kind = message.read(0, 8);
                uint8 code;
                offset += MESSAGE_HEAD_BYTES;
                if (kind == DEPOSIT) {
                    code = Payments.deposit(machine, Tx.wrap(offset), machine.meta.get(Leaves.INBOX_CURSOR) + i);
                    offset += DEPOSIT_BYTES;
                } else if (kind == FORCED) {
                    uint256 length = message.read(MESSAGE_HEAD_BYTES, 16);
                    code = _applyForced(machine, Tx.wrap(offset + 2), length);
                    offset += 2 + length;
                } else {
                    revert WrongMessages();
                }
                if (code != Codes.OK) machine.state.restore(saved);
            }
            if (offset != end) revert WrongMessages();
        }
    }

    function _applyForced(Machine memory machine, Tx tx_, uint256 length) private pure returns (uint8) {
        uint256 size = _size(tx_);
        if (size == 0) return Codes.UNKNOWN_TYPE;
        if (size != length) return Codes.MALFORMED;
        // The fees are whose batch it is.
        if (tx_.read(0, 8) == COLLECT_FEES) return Codes.UNKNOWN_TYPE;
        return _apply(machine, tx_);
    }

    function _bounds(bytes calldata data) private pure returns (uint256 offset, uint256 end) {
        assembly ("memory-safe") {
            offset := data.offset
            end := add(offset, data.length)
        }
    }
}
