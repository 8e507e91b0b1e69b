// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Codes} from "./Codes.sol";
import {Field, Leaf, Leaves} from "./Leaves.sol";
import {State, Witness} from "./Witness.sol";

/// @notice What a transaction is executed with.
/// @param domainSeparator The EIP-712 domain of everything signed.
/// @param closeDelay How long a lone close waits, in seconds.
/// @param unstakeDelay How long a stake stays slashable on its way out, in seconds.
/// @param l2Time The second that it is.
/// @param meta The meta leaf.
/// @param state Every leaf that the execution touches.
struct Machine {
    bytes32 domainSeparator;
    uint256 closeDelay;
    uint256 unstakeDelay;
    uint256 l2Time;
    Leaf meta;
    State state;
}

/// @notice Where a transaction's bytes start in calldata. Its length was checked against its type.
type Tx is uint256;

/// @title What all transactions are made of
/// @notice Nothing here reverts on what a sequencer or a user wrote: fields are read after their length was checked, and
/// numbers are far from 256 bits, so that `unchecked` is exact.
library Machines {
    using Leaves for Leaf;
    using Witness for State;

    /// @notice Half the order of secp256k1, rounded down: the greatest `s` that is taken.
    uint256 internal constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice Reads a field of a transaction.
    /// @param tx_ The transaction.
    /// @param offset The field's first byte.
    /// @param bits The field's width.
    function read(Tx tx_, uint256 offset, uint256 bits) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(sub(256, bits), calldataload(add(tx_, offset)))
        }
    }

    /// @notice An account's leaf, or none.
    /// @param machine What is executed with.
    /// @param number The account's number.
    function account(Machine memory machine, uint256 number) internal pure returns (Leaf) {
        return _find(machine, 0, number);
    }

    /// @notice A channel's leaf, or none.
    /// @param machine What is executed with.
    /// @param id The channel's id.
    function channel(Machine memory machine, uint256 id) internal pure returns (Leaf) {
        return _find(machine, Leaves.CHANNELS_FROM, id);
    }

    /// @notice Whether `find` found nothing.
    /// @param leaf What it returned.
    function isNone(Leaf leaf) internal pure returns (bool) {
        return Leaf.unwrap(leaf) == 0;
    }

    /// @notice Checks the signature that stands in a transaction (EIP-2098).
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    /// @param offset The signature's first byte.
    /// @param structHash The EIP-712 hash of what was signed.
    /// @param signer Who must have signed.
    function checkSigner(Machine memory machine, Tx tx_, uint256 offset, bytes32 structHash, uint256 signer)
        internal
        pure
        returns (uint8)
    {
        if (isMalleable(tx_, offset)) return Codes.MALLEABLE_SIGNATURE;
        if (!isSignedBy(machine, tx_, offset, structHash, signer)) return Codes.BAD_SIGNATURE;
        return Codes.OK;
    }

    /// @notice Whether a signature's `s` is in the upper half of the order.
    /// @param tx_ The transaction.
    /// @param offset The signature's first byte.
    function isMalleable(Tx tx_, uint256 offset) internal pure returns (bool) {
        return (read(tx_, offset + 32, 256) << 1) >> 1 > HALF_ORDER;
    }

    /// @notice Whether a signature that isn't malleable is somebody's.
    /// @param machine What is executed with.
    /// @param tx_ The transaction.
    /// @param offset The signature's first byte.
    /// @param structHash The EIP-712 hash of what was signed.
    /// @param signer Who must have signed; the zero address signs nothing.
    function isSignedBy(Machine memory machine, Tx tx_, uint256 offset, bytes32 structHash, uint256 signer)
        internal
        pure
        returns (bool)
    {
        bytes32 digest;
        bytes32 separator = machine.domainSeparator;
        assembly ("memory-safe") {
            // 66 bytes from 0 on; the last two are the free-memory pointer's highest, which are zero and set back to it.
            mstore(0x00, 0x1901000000000000000000000000000000000000000000000000000000000000)
            mstore(0x02, separator)
            mstore(0x22, structHash)
            digest := keccak256(0x00, 0x42)
            mstore(0x22, 0)
        }
        uint256 vs = read(tx_, offset + 32, 256);
        address recovered = ecrecover(digest, uint8(27 + (vs >> 255)), bytes32(read(tx_, offset, 256)), bytes32((vs << 1) >> 1));
        // What can't be recovered comes back as zero.
        if (recovered == address(0)) return false;
        return uint160(recovered) == signer;
    }

    /// @notice Takes amount and fee from an account, counts its nonce, and puts the fee into the pool.
    /// @param machine What is executed with.
    /// @param sender The account.
    /// @param amount In nano.
    /// @param fee In nano.
    function spend(Machine memory machine, Leaf sender, uint256 amount, uint256 fee) internal pure returns (uint8) {
        unchecked {
            uint256 balance = sender.get(Leaves.BALANCE);
            if (amount + fee > balance) return Codes.OVERDRAFT;
            uint256 nonce = sender.get(Leaves.NONCE);
            if (nonce == type(uint64).max) return Codes.OVERFLOW;
            uint256 pool = machine.meta.get(Leaves.FEE_POOL) + fee;
            if (pool > type(uint128).max) return Codes.OVERFLOW;
            sender.put(Leaves.BALANCE, balance - amount - fee);
            sender.put(Leaves.NONCE, nonce + 1);
            machine.meta.put(Leaves.FEE_POOL, pool);
            return Codes.OK;
        }
    }

    /// @notice Adds to an account's balance.
    /// @param machine What is executed with.
    /// @param number The account's number.
    /// @param amount In nano.
    function credit(Machine memory machine, uint256 number, uint256 amount) internal pure returns (uint8) {
        Leaf receiver = account(machine, number);
        if (isNone(receiver)) return Codes.MISSING_RECEIVER;
        return add(receiver, Leaves.BALANCE, amount);
    }

    /// @notice Adds to one of a leaf's 128-bit amounts.
    /// @param leaf The leaf.
    /// @param field The amount.
    /// @param amount In nano.
    function add(Leaf leaf, Field field, uint256 amount) internal pure returns (uint8) {
        unchecked {
            uint256 sum = leaf.get(field) + amount;
            if (sum > type(uint128).max) return Codes.OVERFLOW;
            leaf.put(field, sum);
            return Codes.OK;
        }
    }

    /// @notice Counts a channel that opened.
    /// @param account_ One of its two accounts.
    function countChannel(Leaf account_) internal pure returns (uint8) {
        unchecked {
            uint256 channels = account_.get(Leaves.CHANNELS);
            if (channels == type(uint32).max) return Codes.OVERFLOW;
            account_.put(Leaves.CHANNELS, channels + 1);
            return Codes.OK;
        }
    }

    /// @notice Counts a channel that ended.
    /// @param account_ One of its two accounts.
    function uncountChannel(Leaf account_) internal pure returns (uint8) {
        unchecked {
            uint256 channels = account_.get(Leaves.CHANNELS);
            if (channels == 0) return Codes.OVERFLOW;
            account_.put(Leaves.CHANNELS, channels - 1);
            return Codes.OK;
        }
    }

    /// @notice Creates the next leaf of a region.
    /// @param machine What is executed with.
    /// @param counter The meta leaf's field that counts the region.
    /// @param regionFrom The region's first state index.
    /// @return code 0, or why there is none.
    /// @return leaf The new leaf, all zero.
    function allocate(Machine memory machine, Field counter, uint256 regionFrom)
        internal
        pure
        returns (uint8 code, Leaf leaf)
    {
        unchecked {
            uint256 number = machine.meta.get(counter);
            if (number >= Leaves.REGION_CAPACITY) return (Codes.OVERFLOW, leaf);
            leaf = machine.state.find(regionFrom | number);
            if (leaf.isPresent()) return (Codes.BAD_ALLOCATION, leaf);
            leaf.create();
            machine.meta.put(counter, number + 1);
        }
    }

    function _find(Machine memory machine, uint256 regionFrom, uint256 number) private pure returns (Leaf leaf) {
        if (number >= Leaves.REGION_CAPACITY) return Leaf.wrap(0);
        leaf = machine.state.find(regionFrom | number);
        if (!leaf.isPresent()) return Leaf.wrap(0);
    }
}
