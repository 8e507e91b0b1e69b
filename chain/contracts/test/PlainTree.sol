// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Hash trees by the book, in plain Solidity, to compare the hand-written memory code with
library PlainTree {
    /// @notice `keccak(left ‖ right)`, except that two empty children make an empty parent.
    function parent(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        if (left == 0 && right == 0) return 0;
        return keccak256(abi.encodePacked(left, right));
    }

    /// @notice The root over the first `count` leaves, padded with zeros to the next power of two.
    function root(bytes32[] memory leaves, uint256 count) internal pure returns (bytes32) {
        uint256 size = 1;
        while (size < count) size *= 2;
        bytes32[] memory level = new bytes32[](size);
        for (uint256 i = 0; i < count; ++i) {
            level[i] = leaves[i];
        }
        for (; size > 1; size /= 2) {
            for (uint256 i = 0; i < size / 2; ++i) {
                level[i] = parent(level[2 * i], level[2 * i + 1]);
            }
        }
        return level[0];
    }
}
