// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice The few of Foundry's cheat codes that these tests use (https://getfoundry.sh/reference/cheatcodes/overview).
interface Vm {
    function addr(uint256 privateKey) external pure returns (address);
    function deal(address account, uint256 balance) external;
    function prank(address sender, address origin) external;
    function prank(address sender) external;
    function roll(uint256 number) external;
    function sign(uint256 privateKey, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function warp(uint256 timestamp) external;
}

/// @title What every test here starts from
abstract contract Cheats {
    Vm internal constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @notice The next number of a chain of hashes, so that one fuzzed seed gives as many numbers as a test needs.
    /// @param seed The chain, moved on.
    /// @param bound One past the greatest number.
    function draw(uint256[1] memory seed, uint256 bound) internal pure returns (uint256) {
        seed[0] = uint256(keccak256(abi.encode(seed[0])));
        return seed[0] % bound;
    }

    /// @notice Random bytes.
    /// @param seed The chain, moved on.
    /// @param length How many.
    function drawBytes(uint256[1] memory seed, uint256 length) internal pure returns (bytes memory out) {
        while (out.length < length) {
            draw(seed, 1);
            out = bytes.concat(out, bytes32(seed[0]));
        }
        assembly ("memory-safe") {
            mstore(out, length)
        }
    }
}
