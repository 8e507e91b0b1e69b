// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// Takes what Solidity's decoder takes and says what it read: the rollup's `submitBatch` without a check of its own.
contract Submissions {
    function submitBatch(uint256 id, bytes32 prevRoot, bytes32 inboxHash, bytes calldata blob)
        external
        pure
        returns (uint256, bytes32, bytes32, bytes32)
    {
        return (id, prevRoot, inboxHash, keccak256(blob));
    }
}
