// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Machine, Machines, Tx} from "../src/Machine.sol";
import {Cheats} from "./Cheats.sol";

/// @title Fields and signatures of transactions, read by the library and by plain Solidity
contract MachineTest is Cheats {
    using Machines for Tx;
    using Machines for Machine;

    function readField(bytes calldata body, uint256 offset, uint256 bits) external pure returns (uint256) {
        return _at(body).read(offset, bits);
    }

    function isSignedBy(bytes calldata body, uint256 offset, bytes32 separator, bytes32 structHash, address signer)
        external
        pure
        returns (bool)
    {
        Machine memory machine;
        machine.domainSeparator = separator;
        bytes32[4] memory canary = [bytes32(uint256(1)), bytes32(uint256(2)), bytes32(uint256(3)), bytes32(uint256(4))];
        bool answer = machine.isSignedBy(_at(body), offset, structHash, uint160(signer));
        // The digest is hashed over the words that the compiler keeps for itself: what was in memory is as it was.
        bytes memory fresh = new bytes(64);
        require(canary[0] == bytes32(uint256(1)) && canary[3] == bytes32(uint256(4)), "memory was overwritten");
        require(fresh.length == 64 && keccak256(fresh) == keccak256(new bytes(64)), "fresh memory is not empty");
        return answer;
    }

    function isMalleable(bytes calldata body, uint256 offset) external pure returns (bool) {
        return _at(body).isMalleable(offset);
    }

    function testFuzz_fieldsAreReadAsByPlainSolidity(bytes calldata body, uint256 start) public view {
        uint256[1] memory seed = [start];
        uint256 size = 1 + draw(seed, 32);
        if (body.length < size) return;
        uint256 offset = draw(seed, body.length - size + 1);
        uint256 wanted;
        for (uint256 i = 0; i < size; ++i) {
            wanted = (wanted << 8) | uint8(body[offset + i]);
        }
        require(this.readField(body, offset, size * 8) == wanted, "another number");
    }

    function testFuzz_signaturesAreCheckedAsByPlainSolidity(uint256 start, bytes32 separator, bytes32 structHash)
        public
        view
    {
        uint256[1] memory seed = [start];
        uint256 key = 1 + draw(seed, 2 ** 128);
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, keccak256(abi.encodePacked("\x19\x01", separator, structHash)));
        uint256 vs = uint256(s) | uint256(v - 27) << 255;
        uint256 what = draw(seed, 6);
        if (what == 1) vs ^= 1 << draw(seed, 256);
        if (what == 2) r ^= bytes32(1 << draw(seed, 256));
        if (what == 3) structHash ^= bytes32(uint256(1));
        if (what == 4) (r, vs) = (bytes32(draw(seed, type(uint256).max)), draw(seed, type(uint256).max));
        address signer = what == 5 ? address(0) : VM.addr(key);
        bytes memory before = drawBytes(seed, draw(seed, 40));
        bytes memory body = bytes.concat(before, r, bytes32(vs), drawBytes(seed, draw(seed, 40)));
        address recovered = ecrecover(
            keccak256(abi.encodePacked("\x19\x01", separator, structHash)),
            uint8(27 + (vs >> 255)),
            r,
            bytes32(vs & (type(uint256).max >> 1))
        );
        bool wanted = recovered != address(0) && recovered == signer;
        require(this.isSignedBy(body, before.length, separator, structHash, signer) == wanted, "another answer");
        require(
            this.isMalleable(body, before.length) == (vs & (type(uint256).max >> 1) > Machines.HALF_ORDER),
            "another half of the order"
        );
    }

    function _at(bytes calldata body) private pure returns (Tx tx_) {
        assembly ("memory-safe") {
            tx_ := body.offset
        }
    }
}
