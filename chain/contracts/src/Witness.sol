// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Leaf, Leaves} from "./Leaves.sol";

/// @notice The part of a state that a witness opens.
/// @param records The first leaf's record; the others follow in the order of their state indices.
/// @param count How many leaves there are.
/// @param nodes Three words for each leaf, where its path through the tree is computed: index, hash before, hash after.
/// @param proof Where the siblings start in calldata.
/// @param end Where the witness ends in calldata.
struct State {
    uint256 records;
    uint256 count;
    uint256 nodes;
    uint256 proof;
    uint256 end;
}

/// @title A state opened by a witness
/// @notice `leafCount2`, for each leaf in ascending order `key4 length1 encoding` (length 0 where the leaf is absent), then
/// `bitCount2 bits…` and 32-byte hashes: a bottom-up, left-to-right walk from the leaves takes one bit for every sibling that
/// it doesn't compute itself, 1 for a hash that follows and 0 for an empty subtree.
/// @dev Everything here is the challenger's choice and not the sequencer's, so what is wrong reverts. A witness that leads to
/// the root is right whatever it looks like: depth and index of every leaf are fixed, and no leaf has a node's 64 bytes.
library Witness {
    using Leaves for Leaf;

    /// @notice The witness ends early, or goes on after its last sibling.
    error WrongWitnessLength();
    /// @notice Leaves must stand in ascending order, none twice.
    error LeavesOutOfOrder(uint256 key);
    /// @notice No leaf of this length and tag lives at this state index.
    error NotALeaf(uint256 key);
    /// @notice Every execution needs the meta leaf.
    error MetaLeafMissing();
    /// @notice The execution needs a leaf that the witness lacks.
    error LeafMissing(uint256 key);
    /// @notice The witness is of another state.
    error WrongPreviousState(bytes32 computed);

    /// @notice Reads the leaves.
    /// @param witness The whole witness.
    /// @return state The leaves, and where the siblings are; nothing is proven before `roots`.
    function open(bytes calldata witness) internal pure returns (State memory state) {
        unchecked {
            uint256 offset;
            uint256 records;
            uint256 nodes;
            uint256 count;
            assembly ("memory-safe") {
                offset := add(witness.offset, 2)
                count := shr(240, calldataload(witness.offset))
                records := mload(0x40)
                // A word beyond the last record, since fields are written with whole words.
                nodes := add(add(records, mul(count, 0x80)), 0x20)
                mstore(0x40, add(nodes, mul(count, 0x60)))
            }
            (state.records, state.count, state.nodes) = (records, count, nodes);
            state.end = _end(witness);
            uint256 key;
            for (uint256 i = 0; i < count; ++i) {
                uint256 length;
                uint256 tag;
                uint256 previous = key;
                assembly ("memory-safe") {
                    key := shr(224, calldataload(offset))
                    length := byte(4, calldataload(offset))
                    tag := byte(5, calldataload(offset))
                }
                if (i != 0 && key <= previous) revert LeavesOutOfOrder(key);
                if (length != 0) {
                    if (length != Leaves.lengthAt(key)) revert NotALeaf(key);
                    if (tag != (key >> 30) + 1) revert NotALeaf(key);
                }
                Leaf leaf = Leaf.wrap(records + i * Leaves.RECORD_BYTES);
                assembly ("memory-safe") {
                    mstore(leaf, or(shl(8, key), length))
                    calldatacopy(add(leaf, 0x20), add(offset, 5), 0x60)
                    offset := add(add(offset, 5), length)
                }
                bytes32 hash = leaf.hash();
                assembly ("memory-safe") {
                    let node := add(nodes, mul(i, 0x60))
                    mstore(node, key)
                    mstore(add(node, 0x20), hash)
                }
            }
            state.proof = offset;
            // The last index of all, so that nothing can stand behind it.
            if (key != Leaves.META_KEY) revert MetaLeafMissing();
            if (!meta(state).isPresent()) revert MetaLeafMissing();
        }
    }

    /// @notice The meta leaf, which has the last index of all.
    /// @param state The opened state.
    function meta(State memory state) internal pure returns (Leaf) {
        unchecked {
            return Leaf.wrap(state.records + (state.count - 1) * Leaves.RECORD_BYTES);
        }
    }

    /// @notice The leaf at a state index, present or absent.
    /// @param state The opened state.
    /// @param key The state index: below the meta leaf's, which is the last, so that the search ends on a leaf.
    function find(State memory state, uint256 key) internal pure returns (Leaf leaf) {
        uint256 found;
        uint256 first = state.records;
        uint256 count = state.count;
        assembly ("memory-safe") {
            let low := 0
            for {} lt(low, count) {} {
                let middle := shr(1, add(low, count))
                switch lt(shr(8, mload(add(first, shl(7, middle)))), key)
                case 0 { count := middle }
                default { low := add(middle, 1) }
            }
            leaf := add(first, shl(7, low))
            found := shr(8, mload(leaf))
        }
        if (found != key) revert LeafMissing(key);
    }

    /// @notice Copies every leaf aside.
    /// @param state The opened state.
    /// @param saved Where an earlier copy may be overwritten, or 0.
    /// @return Where the copy is.
    function save(State memory state, uint256 saved) internal pure returns (uint256) {
        (uint256 from, uint256 size) = (state.records, state.count * Leaves.RECORD_BYTES);
        assembly ("memory-safe") {
            if iszero(saved) {
                saved := mload(0x40)
                mstore(0x40, add(saved, size))
            }
            mcopy(saved, from, size)
        }
        return saved;
    }

    /// @notice Brings every leaf back as it was saved.
    /// @param state The opened state.
    /// @param saved Where the copy is.
    function restore(State memory state, uint256 saved) internal pure {
        (uint256 to, uint256 size) = (state.records, state.count * Leaves.RECORD_BYTES);
        assembly ("memory-safe") {
            mcopy(to, saved, size)
        }
    }

    /// @notice Walks the tree once, for the root before the execution and the root after it.
    /// @param state The opened state, its leaves as executed.
    /// @param prevRoot What the witness must lead to.
    /// @return post The root after the execution.
    function roots(State memory state, bytes32 prevRoot) internal pure returns (bytes32 post) {
        unchecked {
            for (uint256 i = 0; i < state.count; ++i) {
                bytes32 hash = Leaf.wrap(state.records + i * Leaves.RECORD_BYTES).hash();
                uint256 node = state.nodes + i * 0x60;
                assembly ("memory-safe") {
                    mstore(add(node, 0x40), hash)
                }
            }
        }
        bytes32 pre;
        uint256 bitsLeft;
        uint256 reached;
        (pre, post, bitsLeft, reached) = _walk(state);
        if (bitsLeft != 0) revert WrongWitnessLength();
        if (reached != state.end) revert WrongWitnessLength();
        if (pre != prevRoot) revert WrongPreviousState(pre);
    }

    /// @dev Each of the 32 rounds replaces the nodes by their parents in place. A hash is multiplied by 0 where both children
    /// are empty, which is cheaper than a branch. Reading beyond the witness is harmless, and noticed at the end, where
    /// neither a bit nor a byte may be left or lacking.
    function _walk(State memory state)
        private
        pure
        returns (bytes32 pre, bytes32 post, uint256 bitsLeft, uint256 reached)
    {
        assembly ("memory-safe") {
            let nodes := mload(add(state, 0x40))
            let end := add(nodes, mul(mload(add(state, 0x20)), 0x60))
            let bits := add(mload(add(state, 0x60)), 2)
            let hashes := add(bits, shr(3, add(shr(240, calldataload(sub(bits, 2))), 7)))
            let bit := 0
            for { let level := 0 } lt(level, 32) { level := add(level, 1) } {
                let to := nodes
                for { let from := nodes } lt(from, end) { from := add(from, 0x60) } {
                    let index := mload(from)
                    let side := shl(5, and(index, 1))
                    let before := mload(add(from, 0x20))
                    let after := mload(add(from, 0x40))
                    mstore(to, shr(1, index))
                    // A left child whose right sibling is the next node: both children are known, before and after.
                    switch and(lt(add(from, 0x60), end), eq(mload(add(from, 0x60)), add(index, iszero(side))))
                    case 0 {
                        // One bit, and a hash where it is set: the sibling before and after.
                        let sibling := shr(255, shl(and(bit, 7), calldataload(add(bits, shr(3, bit)))))
                        bit := add(bit, 1)
                        let next := add(hashes, shl(5, sibling))
                        sibling := mul(sibling, calldataload(hashes))
                        hashes := next
                        mstore(xor(side, 0x20), sibling)
                        mstore(side, before)
                        mstore(add(to, 0x20), mul(keccak256(0x00, 0x40), iszero(iszero(or(before, sibling)))))
                        mstore(side, after)
                        mstore(add(to, 0x40), mul(keccak256(0x00, 0x40), iszero(iszero(or(after, sibling)))))
                    }
                    default {
                        from := add(from, 0x60)
                        mstore(0x00, before)
                        mstore(0x20, mload(add(from, 0x20)))
                        before := or(before, mload(0x20))
                        mstore(add(to, 0x20), mul(keccak256(0x00, 0x40), iszero(iszero(before))))
                        mstore(0x00, after)
                        mstore(0x20, mload(add(from, 0x40)))
                        after := or(after, mload(0x20))
                        mstore(add(to, 0x40), mul(keccak256(0x00, 0x40), iszero(iszero(after))))
                    }
                    to := add(to, 0x60)
                }
                end := to
            }
            pre := mload(add(nodes, 0x20))
            post := mload(add(nodes, 0x40))
            bitsLeft := sub(shr(240, calldataload(sub(bits, 2))), bit)
            reached := hashes
        }
    }

    function _end(bytes calldata witness) private pure returns (uint256 end) {
        assembly ("memory-safe") {
            end := add(witness.offset, witness.length)
        }
    }
}
