// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Codes} from "./Codes.sol";
import {Leaf, Leaves} from "./Leaves.sol";
import {Machine, Machines, Tx} from "./Machine.sol";

/// @title Accounts, transfers and withdrawals: transaction types 1 to 3, 14 and 15, and deposits
library Payments {
    using Leaves for Leaf;
    using Machines for Machine;
    using Machines for Leaf;
    using Machines for Tx;

    bytes32 private constant TRANSFER =
        keccak256("Transfer(uint32 from,uint32 to,address recipient,uint64 amount,uint32 fee,uint64 nonce)");
    bytes32 private constant WITHDRAW =
        keccak256("Withdraw(uint32 from,uint64 amount,uint32 fee,address to,uint64 nonce)");

    /// @notice Credits what was paid into the inbox to the hinted account, if it is the owner's, or else to a new one. Where
    /// that can't take it, it becomes a withdrawal to its owner.
    /// @param machine What is executed with.
    /// @param message Where `owner20 hint4 amount8` starts in calldata.
    /// @param index Its place in the inbox.
    function deposit(Machine memory machine, Tx message, uint256 index) internal pure returns (uint8) {
        uint256 owner = message.read(0, 160);
        uint256 amount = message.read(24, 64);
        Leaf receiver = machine.account(message.read(20, 32));
        bool isOwners = !receiver.isNone() && receiver.get(Leaves.OWNER) == owner;
        uint8 code = machine.meta.add(Leaves.SUPPLY, amount);
        if (code != Codes.OK) return code;
        if (!isOwners) {
            (code, receiver) = machine.allocate(Leaves.NEXT_ACCOUNT, 0);
            if (code != Codes.OK) return addWithdrawal(machine, owner, amount, 0, index);
            receiver.put(Leaves.OWNER, owner);
        }
        code = receiver.add(Leaves.BALANCE, amount);
        if (code != Codes.OK) return addWithdrawal(machine, owner, amount, 0, index);
        return Codes.OK;
    }

    /// @notice Type 1: `owner20`.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function createAccount(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        uint256 owner = tx_.read(1, 160);
        if (owner == 0) return Codes.MISSING_RECEIVER;
        (uint8 code, Leaf created) = machine.allocate(Leaves.NEXT_ACCOUNT, 0);
        if (code != Codes.OK) return code;
        created.put(Leaves.OWNER, owner);
        return Codes.OK;
    }

    /// @notice Type 2: `from4 to4 amount8 fee4 sig64`, signed with the receiver's owner.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function transfer(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        uint256 from = tx_.read(1, 32);
        uint256 to = tx_.read(5, 32);
        uint256 amount = tx_.read(9, 64);
        uint256 fee = tx_.read(17, 32);
        Leaf sender = machine.account(from);
        if (sender.isNone()) return Codes.MISSING_SENDER;
        Leaf receiver = machine.account(to);
        if (receiver.isNone()) return Codes.MISSING_RECEIVER;
        bytes32 signed = keccak256(
            abi.encode(TRANSFER, from, to, receiver.get(Leaves.OWNER), amount, fee, sender.get(Leaves.NONCE))
        );
        uint8 code = machine.checkSigner(tx_, 21, signed, sender.get(Leaves.OWNER));
        if (code != Codes.OK) return code;
        code = machine.spend(sender, amount, fee);
        if (code != Codes.OK) return code;
        // Spending may have changed this very leaf.
        return receiver.add(Leaves.BALANCE, amount);
    }

    /// @notice Type 3: `from4 amount8 fee4 to20 sig64`.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function withdraw(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        uint256 from = tx_.read(1, 32);
        uint256 amount = tx_.read(5, 64);
        uint256 fee = tx_.read(13, 32);
        uint256 to = tx_.read(17, 160);
        Leaf sender = machine.account(from);
        if (sender.isNone()) return Codes.MISSING_SENDER;
        bytes32 signed = keccak256(abi.encode(WITHDRAW, from, amount, fee, to, sender.get(Leaves.NONCE)));
        uint8 code = machine.checkSigner(tx_, 37, signed, sender.get(Leaves.OWNER));
        if (code != Codes.OK) return code;
        code = machine.spend(sender, amount, fee);
        if (code != Codes.OK) return code;
        if (to == 0) return Codes.MISSING_RECEIVER;
        unchecked {
            return addWithdrawal(machine, to, amount, from, sender.get(Leaves.NONCE) - 1);
        }
    }

    /// @notice Type 14: `account4`. Pays every fee collected so far to an account.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function collectFees(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        uint256 pool = machine.meta.get(Leaves.FEE_POOL);
        machine.meta.put(Leaves.FEE_POOL, 0);
        return machine.credit(tx_.read(1, 32), pool);
    }

    /// @notice Type 15: `account4`. Removes an account that holds nothing; its number is never used again.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    function prune(Machine memory machine, Tx tx_) internal pure returns (uint8) {
        Leaf account = machine.account(tx_.read(1, 32));
        if (account.isNone()) return Codes.MISSING_SENDER;
        if (account.get(Leaves.BALANCE) != 0) return Codes.STAKE_VIOLATION;
        if (account.get(Leaves.STAKE) != 0) return Codes.STAKE_VIOLATION;
        if (account.get(Leaves.UNLOCKING) != 0) return Codes.STAKE_VIOLATION;
        if (account.get(Leaves.CHANNELS) != 0) return Codes.STAKE_VIOLATION;
        account.remove();
        return Codes.OK;
    }

    /// @notice Appends a withdrawal.
    /// @param machine What is executed with.
    /// @param to Who is paid on L1.
    /// @param amount In nano.
    /// @param from Whose money it was; 0 for a deposit that could not be credited.
    /// @param nonce That account's nonce before, or the inbox message's index.
    function addWithdrawal(Machine memory machine, uint256 to, uint256 amount, uint256 from, uint256 nonce)
        internal
        pure
        returns (uint8)
    {
        (uint8 code, Leaf created) = machine.allocate(Leaves.NEXT_WITHDRAWAL, Leaves.WITHDRAWALS_FROM);
        if (code != Codes.OK) return code;
        created.put(Leaves.RECIPIENT, to);
        created.put(Leaves.AMOUNT, amount);
        created.put(Leaves.ACCOUNT, from);
        created.put(Leaves.ACCOUNT_NONCE, nonce);
        return Codes.OK;
    }
}
