// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title A contract that tells its version
interface ISemver {
    /// @notice The version of what the contract does (https://semver.org): the first number changes with whatever its callers
    /// or its users' signatures must know, the second with what is new, the third with nothing that they see.
    function version() external view returns (string memory);
}
