// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Codes} from "./Codes.sol";
import {Leaf, Leaves} from "./Leaves.sol";
import {Machine, Machines, Tx} from "./Machine.sol";
import {Payments} from "./Payments.sol";

/// @title Provider stakes and what is lost by contradicting oneself: transaction types 10 to 13
library Stakes {
    using Leaves for Leaf;
    using Machines for Machine;
    using Machines for Leaf;
    using Machines for Tx;

    /// @notice Who is paid what a slash burns: an address that nobody has a key of.
    uint256 internal constant BURN_ADDRESS = 0xdEaD;

    bytes32 private constant STAKE = keccak256("Stake(uint32 from,uint64 amount,uint32 fee,uint64 nonce)");
    bytes32 private constant UNSTAKE = keccak256("Unstake(uint32 from,uint64 amount,uint32 fee,uint64 nonce)");
    bytes32 private constant RECEIPT = keccak256(
        "Receipt(uint32 channel,uint32 sequence,address provider,ReceiptContent content)ReceiptContent(bytes32 model,bytes32 engineBuild,bytes32 promptHash,bytes32 outputHash,uint32 inputTokens,uint32 outputTokens,uint64 cumulative,uint64 seed,bytes32 fingerprint,uint64 startedMs,uint64 finishedMs)"
    );
    bytes32 private constant SLASH = keccak256(
        "Slash(uint32 provider,address owner,uint32 reporter,uint32 channel,uint32 sequence,bytes32 first,bytes32 second)"
    );

    /// @dev Where a slash's contents' hashes and its signatures start.
    uint256 private constant FIRST = 17;
    uint256 private constant FIRST_SIGNATURE = 49;
    uint256 private constant SECOND = 113;
    uint256 private constant SECOND_SIGNATURE = 145;
    uint256 private constant REPORTER_SIGNATURE = 209;

    /// @notice Type 10: `from4 amount8 fee4 sig64`.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function stake(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        Leaf sender = machine.account(tx_.read(1, 32));
        if (sender.isNone()) return Codes.MISSING_SENDER;
        uint8 code = _checkStaker(machine, tx_, STAKE, sender);
        if (code != Codes.OK) return code;
        uint256 amount = tx_.read(5, 64);
        if (amount == 0) return Codes.STAKE_VIOLATION;
        code = machine.spend(sender, amount, tx_.read(13, 32));
        if (code != Codes.OK) return code;
        sender.put(Leaves.SLASH_FROM, _slashFrom(machine, sender));
        return sender.add(Leaves.STAKE, amount);
    }

    /// @dev The first channel whose receipts the stake answers for: where nothing is staked or unlocking, the next one.
    function _slashFrom(Machine memory machine, Leaf sender) private pure returns (uint256) {
        if (sender.get(Leaves.STAKE) != 0) return sender.get(Leaves.SLASH_FROM);
        if (sender.get(Leaves.UNLOCKING) != 0) return sender.get(Leaves.SLASH_FROM);
        return machine.meta.get(Leaves.NEXT_CHANNEL);
    }

    /// @notice Type 11: `from4 amount8 fee4 sig64`.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function unstake(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        Leaf sender = machine.account(tx_.read(1, 32));
        if (sender.isNone()) return Codes.MISSING_SENDER;
        uint8 code = _checkStaker(machine, tx_, UNSTAKE, sender);
        if (code != Codes.OK) return code;
        uint256 amount = tx_.read(5, 64);
        uint256 staked = sender.get(Leaves.STAKE);
        if (amount == 0) return Codes.STAKE_VIOLATION;
        if (amount > staked) return Codes.STAKE_VIOLATION;
        if (sender.get(Leaves.UNLOCKING) != 0) return Codes.STAKE_VIOLATION;
        code = machine.spend(sender, 0, tx_.read(13, 32));
        if (code != Codes.OK) return code;
        unchecked {
            uint256 unlockAt = machine.l2Time + machine.unstakeDelay;
            if (unlockAt > type(uint64).max) return Codes.OVERFLOW;
            sender.put(Leaves.STAKE, staked - amount);
            sender.put(Leaves.UNLOCKING, amount);
            sender.put(Leaves.UNLOCK_AT, unlockAt);
        }
        return Codes.OK;
    }

    /// @notice Type 12: `from4`.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function finishUnstake(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        Leaf sender = machine.account(tx_.read(1, 32));
        if (sender.isNone()) return Codes.MISSING_SENDER;
        uint256 unlocking = sender.get(Leaves.UNLOCKING);
        if (unlocking == 0) return Codes.STAKE_VIOLATION;
        if (machine.l2Time < sender.get(Leaves.UNLOCK_AT)) return Codes.STAKE_VIOLATION;
        uint8 code = sender.add(Leaves.BALANCE, unlocking);
        if (code != Codes.OK) return code;
        sender.put(Leaves.UNLOCKING, 0);
        sender.put(Leaves.UNLOCK_AT, 0);
        return Codes.OK;
    }

    /// @notice Type 13: `provider4 reporter4 channel4 sequence4`, twice `contentHash32 sig64`, and the reporter's `sig64`.
    /// @dev Half of the whole stake goes to the reporter, the rest is burnt by a withdrawal that nobody can spend on L1.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function slash(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        Leaf provider = machine.account(tx_.read(1, 32));
        if (provider.isNone()) return Codes.MISSING_SENDER;
        Leaf reporter = machine.account(tx_.read(5, 32));
        if (reporter.isNone()) return Codes.MISSING_RECEIVER;
        // The stake that stood behind an older channel is gone, or came later.
        if (tx_.read(9, 32) < provider.get(Leaves.SLASH_FROM)) return Codes.BAD_SLASH_EVIDENCE;
        uint8 code = _checkEvidence(machine, tx_, provider.get(Leaves.OWNER));
        if (code != Codes.OK) return code;
        code = _checkReporter(machine, tx_, provider.get(Leaves.OWNER), reporter.get(Leaves.OWNER));
        if (code != Codes.OK) return code;
        unchecked {
            uint256 taken = provider.get(Leaves.STAKE) + provider.get(Leaves.UNLOCKING);
            if (taken == 0) return Codes.STAKE_VIOLATION;
            provider.put(Leaves.STAKE, 0);
            provider.put(Leaves.UNLOCKING, 0);
            provider.put(Leaves.UNLOCK_AT, 0);
            uint256 reward = taken / 2;
            code = reporter.add(Leaves.BALANCE, reward);
            if (code != Codes.OK) return code;
            // L1 pays claims of 64 bits, and this one is like any other.
            if (taken - reward > type(uint64).max) return Codes.OVERFLOW;
            return Payments.addWithdrawal(
                machine, BURN_ADDRESS, taken - reward, tx_.read(1, 32), provider.get(Leaves.NONCE)
            );
        }
    }

    function _checkStaker(Machine memory machine, Tx tx_, bytes32 typeHash, Leaf sender) private pure returns (uint8) {
        bytes32 signed = keccak256(
            abi.encode(typeHash, tx_.read(1, 32), tx_.read(5, 64), tx_.read(13, 32), sender.get(Leaves.NONCE))
        );
        return machine.checkSigner(tx_, 17, signed, sender.get(Leaves.OWNER));
    }

    function _checkEvidence(Machine memory machine, Tx tx_, uint256 owner) private pure returns (uint8) {
        if (tx_.read(FIRST, 256) == tx_.read(SECOND, 256)) return Codes.BAD_SLASH_EVIDENCE;
        if (tx_.isMalleable(FIRST_SIGNATURE)) return Codes.MALLEABLE_SIGNATURE;
        if (tx_.isMalleable(SECOND_SIGNATURE)) return Codes.MALLEABLE_SIGNATURE;
        bytes32 first = _hashReceipt(tx_, FIRST, owner);
        if (!machine.isSignedBy(tx_, FIRST_SIGNATURE, first, owner)) return Codes.BAD_SLASH_EVIDENCE;
        bytes32 second = _hashReceipt(tx_, SECOND, owner);
        if (!machine.isSignedBy(tx_, SECOND_SIGNATURE, second, owner)) return Codes.BAD_SLASH_EVIDENCE;
        return Codes.OK;
    }

    function _checkReporter(Machine memory machine, Tx tx_, uint256 owner, uint256 reporterOwner)
        private
        pure
        returns (uint8)
    {
        bytes32 signed = keccak256(
            abi.encode(
                SLASH,
                tx_.read(1, 32),
                owner,
                tx_.read(5, 32),
                tx_.read(9, 32),
                tx_.read(13, 32),
                tx_.read(FIRST, 256),
                tx_.read(SECOND, 256)
            )
        );
        return machine.checkSigner(tx_, REPORTER_SIGNATURE, signed, reporterOwner);
    }

    function _hashReceipt(Tx tx_, uint256 content, uint256 owner) private pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT, tx_.read(9, 32), tx_.read(13, 32), owner, tx_.read(content, 256)));
    }
}
