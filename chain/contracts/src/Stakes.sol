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
        "Receipt(uint32 channel,uint32 sequence,bytes32 model,bytes32 engineBuild,bytes32 promptHash,bytes32 outputHash,uint32 inputTokens,uint32 outputTokens,uint64 cumulative,uint64 seed,bytes32 fingerprint,uint64 startedMs,uint64 finishedMs,address provider)"
    );

    /// @dev Where a slash's two receipts start, and where a receipt's signature starts within it.
    uint256 private constant FIRST_RECEIPT = 17;
    uint256 private constant SECOND_RECEIPT = 281;
    uint256 private constant RECEIPT_SIGNATURE = 200;

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

    /// @notice Type 13: `provider4 reporter4 channel4 sequence4`, then twice `model32 engineBuild32 prompt32 output32
    /// inputTokens4 outputTokens4 cumulative8 seed8 fingerprint32 startedMs8 finishedMs8 sig64`.
    /// @dev Half of the whole stake goes to the reporter, the rest is burnt by a withdrawal that nobody can spend on L1.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function slash(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        Leaf provider = machine.account(tx_.read(1, 32));
        if (provider.isNone()) return Codes.MISSING_SENDER;
        Leaf reporter = machine.account(tx_.read(5, 32));
        if (reporter.isNone()) return Codes.MISSING_RECEIVER;
        uint8 code = _checkEvidence(machine, tx_, provider.get(Leaves.OWNER));
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
        unchecked {
            bytes32 first = _hashReceipt(tx_, FIRST_RECEIPT, owner);
            bytes32 second = _hashReceipt(tx_, SECOND_RECEIPT, owner);
            if (first == second) return Codes.BAD_SLASH_EVIDENCE;
            uint256 firstSignature = FIRST_RECEIPT + RECEIPT_SIGNATURE;
            uint256 secondSignature = SECOND_RECEIPT + RECEIPT_SIGNATURE;
            if (tx_.isMalleable(firstSignature)) return Codes.MALLEABLE_SIGNATURE;
            if (tx_.isMalleable(secondSignature)) return Codes.MALLEABLE_SIGNATURE;
            if (!machine.isSignedBy(tx_, firstSignature, first, owner)) return Codes.BAD_SLASH_EVIDENCE;
            if (!machine.isSignedBy(tx_, secondSignature, second, owner)) return Codes.BAD_SLASH_EVIDENCE;
            return Codes.OK;
        }
    }

    function _hashReceipt(Tx tx_, uint256 offset, uint256 owner) private pure returns (bytes32 structHash) {
        bytes32 typeHash = RECEIPT;
        assembly ("memory-safe") {
            // Beyond the free-memory pointer, which is left where it is: these words are needed no longer than this.
            let words := mload(0x40)
            let receipt := add(tx_, offset)
            mstore(words, typeHash)
            mstore(add(words, 0x020), shr(224, calldataload(add(tx_, 9))))
            mstore(add(words, 0x040), shr(224, calldataload(add(tx_, 13))))
            calldatacopy(add(words, 0x060), receipt, 0x80)
            mstore(add(words, 0x0e0), shr(224, calldataload(add(receipt, 128))))
            mstore(add(words, 0x100), shr(224, calldataload(add(receipt, 132))))
            mstore(add(words, 0x120), shr(192, calldataload(add(receipt, 136))))
            mstore(add(words, 0x140), shr(192, calldataload(add(receipt, 144))))
            mstore(add(words, 0x160), calldataload(add(receipt, 152)))
            mstore(add(words, 0x180), shr(192, calldataload(add(receipt, 184))))
            mstore(add(words, 0x1a0), shr(192, calldataload(add(receipt, 192))))
            mstore(add(words, 0x1c0), owner)
            structHash := keccak256(words, 0x1e0)
        }
    }
}
