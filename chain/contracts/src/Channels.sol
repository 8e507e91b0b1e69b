// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Codes} from "./Codes.sol";
import {Leaf, Leaves} from "./Leaves.sol";
import {Machine, Machines, Tx} from "./Machine.sol";

/// @title Payment channels: transaction types 4 to 9
library Channels {
    using Leaves for Leaf;
    using Machines for Machine;
    using Machines for Leaf;
    using Machines for Tx;

    bytes32 private constant OPEN_CHANNEL = keccak256(
        "OpenChannel(uint32 from,uint32 payee,address payeeOwner,address signer,uint64 amount,uint64 expiry,uint32 fee,uint64 nonce)"
    );
    bytes32 private constant TOP_UP =
        keccak256("TopUp(uint32 channel,address signer,uint64 amount,uint32 fee,uint64 nonce)");
    bytes32 private constant VOUCHER = keccak256("Voucher(uint32 channel,uint64 cumulative)");
    bytes32 private constant CLOSE_TOGETHER =
        keccak256("CloseTogether(uint32 channel,address signer,uint64 cumulative)");
    bytes32 private constant START_CLOSE = keccak256("StartClose(uint32 channel,address signer,uint64 nonce)");

    /// @notice Type 4: `from4 payee4 signer20 amount8 expiry8 fee4 sig64`, signed with the payee's owner.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function open(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        Leaf sender = machine.account(tx_.read(1, 32));
        if (sender.isNone()) return Codes.MISSING_SENDER;
        Leaf payee = machine.account(tx_.read(5, 32));
        if (payee.isNone()) return Codes.MISSING_RECEIVER;
        bytes32 signed = _hashOpening(tx_, payee.get(Leaves.OWNER), sender.get(Leaves.NONCE));
        uint8 code = machine.checkSigner(tx_, 49, signed, sender.get(Leaves.OWNER));
        if (code != Codes.OK) return code;
        uint256 amount = tx_.read(29, 64);
        code = machine.spend(sender, amount, tx_.read(45, 32));
        if (code != Codes.OK) return code;
        uint256 expiry = tx_.read(37, 64);
        if (expiry <= machine.l2Time) return Codes.CHANNEL_UNAVAILABLE;
        Leaf created;
        (code, created) = machine.allocate(Leaves.NEXT_CHANNEL, Leaves.CHANNELS_FROM);
        if (code != Codes.OK) return code;
        created.put(Leaves.PAYER, tx_.read(1, 32));
        created.put(Leaves.PAYEE, tx_.read(5, 32));
        created.put(Leaves.SIGNER, tx_.read(9, 160));
        created.put(Leaves.DEPOSIT, amount);
        created.put(Leaves.EXPIRY, expiry);
        code = sender.countChannel();
        if (code != Codes.OK) return code;
        return payee.countChannel();
    }

    /// @notice Type 5: `channel4 amount8 fee4 sig64`, signed with the channel's voucher address, as types 7 and 8.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function topUp(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        uint256 id = tx_.read(1, 32);
        uint256 amount = tx_.read(5, 64);
        uint256 fee = tx_.read(13, 32);
        Leaf channel = machine.channel(id);
        if (channel.isNone()) return Codes.CHANNEL_UNAVAILABLE;
        if (channel.get(Leaves.CLOSING_AT) != 0) return Codes.CHANNEL_UNAVAILABLE;
        if (_isOver(machine, channel)) return Codes.CHANNEL_UNAVAILABLE;
        Leaf payer = machine.account(channel.get(Leaves.PAYER));
        if (payer.isNone()) return Codes.MISSING_SENDER;
        bytes32 signed = keccak256(
            abi.encode(TOP_UP, id, channel.get(Leaves.SIGNER), amount, fee, payer.get(Leaves.NONCE))
        );
        uint8 code = machine.checkSigner(tx_, 17, signed, payer.get(Leaves.OWNER));
        if (code != Codes.OK) return code;
        code = machine.spend(payer, amount, fee);
        if (code != Codes.OK) return code;
        return channel.add(Leaves.DEPOSIT, amount);
    }

    /// @notice Type 6: `channel4 cumulative8 sig64`.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function redeem(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        uint256 id = tx_.read(1, 32);
        uint256 cumulative = tx_.read(5, 64);
        Leaf channel = machine.channel(id);
        if (channel.isNone()) return Codes.CHANNEL_UNAVAILABLE;
        if (_isOver(machine, channel)) return Codes.CHANNEL_UNAVAILABLE;
        uint256 redeemed = channel.get(Leaves.REDEEMED);
        if (cumulative <= redeemed) return Codes.BAD_VOUCHER;
        if (cumulative > channel.get(Leaves.DEPOSIT)) return Codes.BAD_VOUCHER;
        bytes32 signed = keccak256(abi.encode(VOUCHER, id, cumulative));
        if (tx_.isMalleable(13)) return Codes.MALLEABLE_SIGNATURE;
        if (!machine.isSignedBy(tx_, 13, signed, channel.get(Leaves.SIGNER))) return Codes.BAD_VOUCHER;
        channel.put(Leaves.REDEEMED, cumulative);
        unchecked {
            return machine.credit(channel.get(Leaves.PAYEE), cumulative - redeemed);
        }
    }

    /// @notice Type 7: `channel4 cumulative8 sig64`.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function closeTogether(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        uint256 id = tx_.read(1, 32);
        uint256 cumulative = tx_.read(5, 64);
        Leaf channel = machine.channel(id);
        if (channel.isNone()) return Codes.CHANNEL_UNAVAILABLE;
        if (cumulative != channel.get(Leaves.REDEEMED)) return Codes.BAD_VOUCHER;
        Leaf payee = machine.account(channel.get(Leaves.PAYEE));
        if (payee.isNone()) return Codes.MISSING_SENDER;
        bytes32 signed = keccak256(abi.encode(CLOSE_TOGETHER, id, channel.get(Leaves.SIGNER), cumulative));
        uint8 code = machine.checkSigner(tx_, 13, signed, payee.get(Leaves.OWNER));
        if (code != Codes.OK) return code;
        return _end(machine, channel, payee);
    }

    /// @notice Type 8: `channel4 sig64`.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function startClose(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        uint256 id = tx_.read(1, 32);
        Leaf channel = machine.channel(id);
        if (channel.isNone()) return Codes.CHANNEL_UNAVAILABLE;
        if (channel.get(Leaves.CLOSING_AT) != 0) return Codes.CHANNEL_UNAVAILABLE;
        if (_isOver(machine, channel)) return Codes.CHANNEL_UNAVAILABLE;
        Leaf payer = machine.account(channel.get(Leaves.PAYER));
        if (payer.isNone()) return Codes.MISSING_SENDER;
        bytes32 signed = keccak256(abi.encode(START_CLOSE, id, channel.get(Leaves.SIGNER), payer.get(Leaves.NONCE)));
        uint8 code = machine.checkSigner(tx_, 5, signed, payer.get(Leaves.OWNER));
        if (code != Codes.OK) return code;
        code = machine.spend(payer, 0, 0);
        if (code != Codes.OK) return code;
        unchecked {
            uint256 closingAt = machine.l2Time + machine.closeDelay;
            if (closingAt > type(uint64).max) return Codes.OVERFLOW;
            channel.put(Leaves.CLOSING_AT, closingAt);
        }
        return Codes.OK;
    }

    /// @notice Type 9: `channel4`.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function expire(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        Leaf channel = machine.channel(tx_.read(1, 32));
        if (channel.isNone()) return Codes.CHANNEL_UNAVAILABLE;
        if (!_isOver(machine, channel)) return Codes.TOO_EARLY;
        Leaf payee = machine.account(channel.get(Leaves.PAYEE));
        if (payee.isNone()) return Codes.MISSING_RECEIVER;
        return _end(machine, channel, payee);
    }

    function _isOver(Machine memory machine, Leaf channel) private pure returns (bool) {
        if (machine.l2Time >= channel.get(Leaves.EXPIRY)) return true;
        uint256 closingAt = channel.get(Leaves.CLOSING_AT);
        if (closingAt == 0) return false;
        return machine.l2Time >= closingAt;
    }

    function _end(Machine memory machine, Leaf channel, Leaf payee) private pure returns (uint8) {
        channel.remove();
        unchecked {
            // No execution lets the redeemed amount exceed the deposit.
            uint256 rest = channel.get(Leaves.DEPOSIT) - channel.get(Leaves.REDEEMED);
            Leaf payer = machine.account(channel.get(Leaves.PAYER));
            if (payer.isNone()) return Codes.MISSING_RECEIVER;
            uint8 code = payer.add(Leaves.BALANCE, rest);
            if (code != Codes.OK) return code;
            code = payer.uncountChannel();
            if (code != Codes.OK) return code;
            return payee.uncountChannel();
        }
    }

    function _hashOpening(Tx tx_, uint256 payeeOwner, uint256 nonce) private pure returns (bytes32) {
        return keccak256(
            abi.encode(
                OPEN_CHANNEL,
                tx_.read(1, 32),
                tx_.read(5, 32),
                payeeOwner,
                tx_.read(9, 160),
                tx_.read(29, 64),
                tx_.read(37, 64),
                tx_.read(45, 32),
                nonce
            )
        );
    }
}
