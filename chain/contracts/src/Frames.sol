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
    /// @notice The only version of the format.
    uint8 internal constant VERSION = 1;

    /// @notice The blob's first byte names a version that this contract doesn't know.
    error UnknownVersion(uint8 version);
    /// @notice The blob ends inside its header or inside a frame.
    error Truncated(uint256 offset);
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

    /// @notice Walks every frame.
    /// @param blob The whole blob.
    /// @return root The Merkle root of the frames, see `merkleize`.
    /// @return postRoot The last frame's state root: the batch's.
    /// @return count How many frames there are.
    function digest(bytes calldata blob) internal pure returns (bytes32 root, bytes32 postRoot, uint32 count) {
        uint256 frames = _count(blob);
        if (frames == 0) revert NoFrames();
        bytes32[] memory leaves = new bytes32[](frames);
        uint256 offset = HEADER_BYTES;
        for (uint256 i = 0; i < frames; ++i) {
            uint256 size = uint16(bytes2(blob[offset:offset + 2]));
            postRoot = bytes32(blob[offset + 2:offset + FRAME_HEADER_BYTES]);
            leaves[i] = _leaf(postRoot, blob[offset + FRAME_HEADER_BYTES:offset + FRAME_HEADER_BYTES + size]);
            offset += FRAME_HEADER_BYTES + size;
        }
        return (merkleize(leaves), postRoot, uint32(frames));
    }

    /// @notice The root over `leaves`, padded with zero leaves to the next power of two; a pair of zeros has parent zero.
    /// @param leaves At least one, none of them zero; overwritten.
    function merkleize(bytes32[] memory leaves) internal pure returns (bytes32) {
        uint256 size = leaves.length;
        while (size > 1) {
            uint256 parents = (size + 1) / 2;
            for (uint256 i = 0; i < parents; ++i) {
                leaves[i] = node(leaves[2 * i], 2 * i + 1 < size ? leaves[2 * i + 1] : bytes32(0));
            }
            size = parents;
        }
        return leaves[0];
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

    function _count(bytes calldata blob) private pure returns (uint256 frames) {
        uint256 offset = HEADER_BYTES;
        while (offset < blob.length) {
            if (blob.length - offset < FRAME_HEADER_BYTES) revert Truncated(offset);
            uint256 size = uint16(bytes2(blob[offset:offset + 2]));
            offset += FRAME_HEADER_BYTES;
            if (blob.length - offset < size) revert Truncated(offset);
            offset += size;
            ++frames;
        }
    }

    /// @dev Hashes the body beyond the free-memory pointer without moving it: every frame reuses the same memory.
    function _leaf(bytes32 postRoot, bytes calldata body) private pure returns (bytes32 leaf) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, body.offset, body.length)
            let bodyHash := keccak256(free, body.length)
            mstore(0x00, postRoot)
            mstore(0x20, bodyHash)
            leaf := keccak256(0x00, 0x40)
        }
    }
}
