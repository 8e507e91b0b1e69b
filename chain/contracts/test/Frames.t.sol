// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Frames} from "../src/Frames.sol";
import {Cheats} from "./Cheats.sol";
import {PlainTree} from "./PlainTree.sol";

/// @title A batch's frames, read by the library and by plain Solidity
contract FramesTest is Cheats {
    function digest(bytes calldata blob) external pure returns (bytes32, bytes32, uint32) {
        return Frames.digest(blob);
    }

    function plainDigest(bytes calldata blob) external pure returns (bytes32 root, bytes32 postRoot, uint32 count) {
        bytes32[] memory leaves = new bytes32[](blob.length / 34 + 1);
        uint256 offset = 17;
        while (offset < blob.length) {
            require(offset + 34 <= blob.length, "a header is cut short");
            uint256 size = uint16(bytes2(blob[offset:offset + 2]));
            postRoot = bytes32(blob[offset + 2:offset + 34]);
            offset += 34;
            require(size <= 808, "a body is too long");
            require(offset + size <= blob.length, "a body is cut short");
            leaves[count++] = keccak256(abi.encodePacked(postRoot, keccak256(blob[offset:offset + size])));
            offset += size;
        }
        require(count != 0, "no frames");
        root = PlainTree.root(leaves, count);
    }

    function testFuzz_framesAreReadAsByPlainSolidity(uint256 start) public view {
        uint256[1] memory seed = [start];
        bytes memory blob = drawBytes(seed, 17);
        uint256 count = draw(seed, 12);
        for (uint256 i = 0; i < count; ++i) {
            uint256 size = draw(seed, 8) == 0 ? 808 - 1 + draw(seed, 3) : draw(seed, 200);
            blob = bytes.concat(blob, bytes2(uint16(size)), bytes32(draw(seed, type(uint256).max)), drawBytes(seed, size));
        }
        // One in three is cut short or has a wrong length.
        if (draw(seed, 3) == 0 && blob.length > 17) {
            uint256 length = 17 + draw(seed, blob.length - 17);
            assembly ("memory-safe") {
                mstore(blob, length)
            }
        } else if (draw(seed, 6) == 0 && blob.length > 19) {
            blob[17 + draw(seed, 2)] = bytes1(uint8(draw(seed, 256)));
        }
        (bool taken, bytes memory got) = address(this).staticcall(abi.encodeCall(this.digest, (blob)));
        (bool plain, bytes memory wanted) = address(this).staticcall(abi.encodeCall(this.plainDigest, (blob)));
        require(taken == plain, "one reads it, the other does not");
        require(!taken || keccak256(got) == keccak256(wanted), "they read different frames");
    }

    function testFuzz_aFrameIsProvenAtItsPlaceOnly(uint256 start) public view {
        uint256[1] memory seed = [start];
        uint256 count = 1 + draw(seed, 33);
        bytes32[] memory leaves = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            leaves[i] = bytes32(draw(seed, type(uint256).max) | 1);
        }
        bytes32 root = PlainTree.root(leaves, count);
        uint256 place = draw(seed, count);
        bytes32[] memory siblings = plainSiblings(leaves, place);
        require(this.contains(root, count, place, leaves[place], siblings), "the right place is refused");
        uint256 other = draw(seed, count + 2);
        if (other != place) require(!this.contains(root, count, other, leaves[place], siblings), "a wrong place");
        require(!this.contains(root, count, place, leaves[place] ^ bytes32(uint256(2)), siblings), "a wrong leaf");
        require(!this.contains(root, 2 * count + 1, place, leaves[place], siblings), "a wrong depth");
    }

    function contains(bytes32 root, uint256 count, uint256 index, bytes32 leaf, bytes32[] calldata siblings)
        external
        pure
        returns (bool)
    {
        return Frames.contains(root, count, index, leaf, siblings);
    }

    function plainSiblings(bytes32[] memory leaves, uint256 place) private pure returns (bytes32[] memory siblings) {
        uint256 size = 1;
        uint256 depth;
        for (; size < leaves.length; size *= 2) {
            ++depth;
        }
        siblings = new bytes32[](depth);
        bytes32[] memory level = new bytes32[](size);
        for (uint256 i = 0; i < leaves.length; ++i) {
            level[i] = leaves[i];
        }
        for (uint256 i = 0; i < depth; ++i) {
            siblings[i] = level[place ^ 1];
            for (uint256 j = 0; j < size >> (i + 1); ++j) {
                level[j] = PlainTree.parent(level[2 * j], level[2 * j + 1]);
            }
            place /= 2;
        }
    }
}
