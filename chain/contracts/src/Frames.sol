// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title The framing of a batch
/// @notice A blob is `version1 l2Time8 inboxTo8`, then frames `length2 postRoot32 body`, all big-endian, where the length is
/// the body's. Frames are the leaves of a Merkle tree, so that a proof about one of them carries that one only.
/// @dev A frame's leaf is `keccak(postRoot ‖ keccak(body))`, 64 bytes like a node: a proof is safe because the depth follows
/// from the frame count on record, and never from the proof.
library Frames {
    /// @notice Bytes before the first frame.
    uint256 internal constant HEADER_BYTES = 17;
    /// @notice Bytes of a frame before its body.
    uint256 internal constant FRAME_HEADER_BYTES = 34;
    /// @notice The longest body: eight of every kind of transaction but openings and slashes, of which as many fit as do. Data
    /// is most of what a proof costs, so this bounds the gas that disproves a frame.
    uint256 internal constant MAX_BODY_BYTES = 808;
    /// @notice The only version of the format.
    uint8 internal constant VERSION = 1;

    /// @notice The blob's first byte names a version that this contract doesn't know.
    error UnknownVersion(uint8 version);
    /// @notice The blob ends inside its header or inside a frame.
    error Truncated(uint256 offset);
    /// @notice The body of the frame at this place is longer than `MAX_BODY_BYTES`.
    error FrameTooLong(uint256 index);
    /// @notice A batch without a frame changes nothing.
    error NoFrames();

    /// @notice The batch's header.
    /// @param blob The whole blob.
    /// @return l2Time The second that the batch's transactions see.
    /// @return inboxTo How far the inbox is executed once the batch is.
    function header(bytes calldata blob) internal pure returns (uint64 l2Time, uint64 inboxTo) {
        if (blob.length < HEADER_BYTES) revert Truncated(blob.length);
        if (uint8(blob[0]) != VERSION) revert UnknownVersion(uint8(blob[0]));
        l2Time = uint64(bytes8(blob[1:9]));
        inboxTo = uint64(bytes8(blob[9:17]));
    }

    /// @notice Walks every frame once, in assembly since a batch has hundreds and checked slices cost ten times as much.
    /// @param blob The whole blob, its header checked.
    /// @return root The Merkle root of the frames, see `merkleize`.
    /// @return postRoot The last frame's state root: the batch's.
    /// @return count How many frames there are.
    function digest(bytes calldata blob) internal pure returns (bytes32 root, bytes32 postRoot, uint32 count) {
        bytes32[] memory leaves;
        uint256 truncatedAt;
        uint256 tooLong;
        assembly ("memory-safe") {
            // A frame has at least its header, so this many leaves fit after the array's length word; bodies are copied
            // beyond them, each over the one before, and the free-memory pointer is moved past the leaves alone.
            leaves := mload(0x40)
            let next := add(leaves, 0x20)
            let scratch := add(next, shl(5, div(blob.length, FRAME_HEADER_BYTES)))
            let offset := add(blob.offset, HEADER_BYTES)
            let end := add(blob.offset, blob.length)
            for {} lt(offset, end) {} {
                let size := shr(240, calldataload(offset))
                let body := add(offset, FRAME_HEADER_BYTES)
                // Covers a header that is cut short as well: its body would begin beyond the end.
                if gt(add(body, size), end) {
                    truncatedAt := sub(offset, blob.offset)
                    break
                }
                if gt(size, MAX_BODY_BYTES) {
                    tooLong := shr(5, sub(next, leaves))
                    break
                }
                postRoot := calldataload(add(offset, 2))
                calldatacopy(scratch, body, size)
                mstore(0x00, postRoot)
                mstore(0x20, keccak256(scratch, size))
                mstore(next, keccak256(0x00, 0x40))
                next := add(next, 0x20)
                offset := add(body, size)
            }
            mstore(leaves, shr(5, sub(sub(next, leaves), 0x20)))
            mstore(0x40, next)
        }
        if (truncatedAt != 0) revert Truncated(truncatedAt);
        if (tooLong != 0) revert FrameTooLong(tooLong - 1);
        if (leaves.length == 0) revert NoFrames();
        return (merkleize(leaves), postRoot, uint32(leaves.length));
    }

    /// @notice The root over `leaves`, padded with zero leaves to the next power of two; a pair of zeros has parent zero.
    /// @param leaves At least one, none of them zero; overwritten.
    function merkleize(bytes32[] memory leaves) internal pure returns (bytes32 root) {
        assembly ("memory-safe") {
            let first := add(leaves, 0x20)
            // Each round hashes pairs in place; the last of an odd number is paired with zero.
            for { let size := mload(leaves) } gt(size, 1) { size := shr(1, add(size, 1)) } {
                let end := add(first, shl(5, size))
                let to := first
                for { let from := first } lt(from, end) { from := add(from, 0x40) } {
                    mstore(0x00, mload(from))
                    mstore(0x20, 0)
                    if lt(add(from, 0x20), end) { mstore(0x20, mload(add(from, 0x20))) }
                    mstore(to, keccak256(0x00, 0x40))
                    to := add(to, 0x20)
                }
            }
            root := mload(first)
        }
    }

    /// @notice Whether a leaf stands at a place under a root of `merkleize`.
    /// @param root The root over all frames.
    /// @param count How many frames there are; it fixes how long the proof is.
    /// @param index The leaf's place.
    /// @param leaf Its hash.
    /// @param siblings The proof's siblings, from the leaf up.
    function contains(bytes32 root, uint256 count, uint256 index, bytes32 leaf, bytes32[] calldata siblings)
        internal
        pure
        returns (bool)
    {
        uint256 depth;
        while ((1 << depth) < count) ++depth;
        if (index >= count || siblings.length != depth) return false;
        for (uint256 level = 0; level < depth; ++level) {
            leaf = (index >> level) & 1 == 0 ? node(leaf, siblings[level]) : node(siblings[level], leaf);
        }
        return leaf == root;
    }

    /// @notice A tree's inner node: `keccak(left ‖ right)`, except that two empty children make an empty parent.
    /// @param left The left child.
    /// @param right The right child.
    function node(bytes32 left, bytes32 right) internal pure returns (bytes32 parent) {
        if (left == 0 && right == 0) return 0;
        assembly ("memory-safe") {
            mstore(0x00, left)
            mstore(0x20, right)
            parent := keccak256(0x00, 0x40)
        }
    }
}
