// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Compact signatures (EIP-2098) over EIP-712 structs
library Signatures {
    uint256 private constant _HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice Who signed a struct; the zero address for a signature that nobody made or that has a twin (a high `s`).
    /// @param signature `r32 ‖ yParityAndS32`.
    /// @param domainSeparator The domain that it was signed in.
    /// @param structHash The struct's hash.
    function signer(bytes calldata signature, bytes32 domainSeparator, bytes32 structHash)
        internal
        pure
        returns (address)
    {
        if (signature.length != 64) return address(0);
        bytes32 yParityAndS = bytes32(signature[32:64]);
        uint256 s = uint256(yParityAndS) & type(uint256).max >> 1;
        if (s > _HALF_ORDER) return address(0);
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", domainSeparator, structHash));
        return ecrecover(digest, uint8(uint256(yParityAndS) >> 255) + 27, bytes32(signature[0:32]), bytes32(s));
    }
}
