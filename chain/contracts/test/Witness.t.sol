// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Field, Leaf, Leaves} from "../src/Leaves.sol";
import {State, Witness} from "../src/Witness.sol";
import {Cheats} from "./Cheats.sol";
import {PlainTree} from "./PlainTree.sol";

/// @title A witness, opened, changed and hashed by the library and by plain Solidity
contract WitnessTest is Cheats {
    using Leaves for Leaf;
    using Witness for State;

    /// @notice A witness taken apart; an absent leaf has no encoding.
    struct Plain {
        uint256[] keys;
        bytes[] encodings;
        bytes bits;
        bytes32[] hashes;
        uint256 bitCount;
    }

    /// @notice Opens a witness, changes its leaves as a list of changes says, and walks to both roots.
    /// @param witness As a challenger hands it in.
    /// @param changes For each leaf: 0 leave it, 1 remove it, 2 create it anew, 3 write a field, 4 write and take it back.
    /// @param value What is written.
    /// @param prevRoot What the witness must lead to.
    function walk(bytes calldata witness, uint8[] calldata changes, uint256 value, bytes32 prevRoot)
        external
        pure
        returns (bytes32)
    {
        State memory state = Witness.open(witness);
        for (uint256 i = 0; i < changes.length; ++i) {
            Leaf leaf = state.find(_keyAt(witness, i));
            if (changes[i] == 1) leaf.remove();
            if (changes[i] == 2) leaf.create();
            if (changes[i] == 3 && leaf.isPresent()) leaf.put(Leaves.OWNER, value >> 96);
            if (changes[i] == 4 && leaf.isPresent()) {
                uint256 saved = state.save(0);
                leaf.put(Leaves.OWNER, value >> 96);
                state.restore(saved);
            }
            if (leaf.isPresent() && changes[i] == 3) require(leaf.get(Leaves.OWNER) == value >> 96, "not written");
        }
        return state.roots(prevRoot);
    }

    function testFuzz_aWitnessLeadsWherePlainSolidityLeads(uint256 start) public view {
        uint256[1] memory seed = [start];
        Plain memory plain = _draw(seed);
        bytes memory witness = _pack(plain);
        uint8[] memory changes = new uint8[](plain.keys.length - 1);
        uint256 value = draw(seed, type(uint256).max);
        bytes32 before = _root(plain);
        for (uint256 i = 0; i < changes.length; ++i) {
            changes[i] = uint8(draw(seed, 5));
            plain.encodings[i] = _changed(plain.keys[i], plain.encodings[i], changes[i], value);
        }
        require(this.walk(witness, changes, value, before) == _root(plain), "another root after the changes");
    }

    function testFuzz_aWitnessOfAnotherLengthOrRootIsRefused(uint256 start) public view {
        uint256[1] memory seed = [start];
        Plain memory plain = _draw(seed);
        bytes32 before = _root(plain);
        bytes memory witness = _pack(plain);
        uint8[] memory none = new uint8[](0);
        _refused(witness, none, before ^ bytes32(uint256(1)));
        _refused(bytes.concat(witness, bytes1(0)), none, before);
        _refused(bytes.concat(witness, bytes32(0)), none, before);
        // One bit more or less than the walk takes, in as many bytes.
        uint256 bitBytes = (plain.bitCount + 7) / 8;
        if (plain.bitCount % 8 != 0) _refused(_packed(plain, plain.bitCount + 1), none, before);
        if (plain.bitCount % 8 != 1) _refused(_packed(plain, plain.bitCount - 1), none, before);
        // Any byte of the witness counts, but for the bits behind the last one.
        uint256 place = draw(seed, witness.length);
        uint256 bitsFrom = witness.length - 32 * plain.hashes.length - bitBytes;
        if (place >= bitsFrom && place < bitsFrom + bitBytes) return;
        witness[place] = bytes1(uint8(witness[place]) ^ uint8(1 << draw(seed, 8)));
        _refused(witness, none, before);
    }

    function _refused(bytes memory witness, uint8[] memory changes, bytes32 prevRoot) private view {
        (bool taken,) = address(this).staticcall{gas: 10_000_000}(
            abi.encodeCall(this.walk, (witness, changes, 0, prevRoot))
        );
        require(!taken, "a wrong witness was taken");
    }

    // ------------------------------------------------------------------------------------------------- by the book

    function _root(Plain memory plain) private pure returns (bytes32) {
        uint256 count = plain.keys.length;
        uint256[] memory places = new uint256[](count);
        bytes32[] memory nodes = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            places[i] = plain.keys[i];
            nodes[i] = plain.encodings[i].length == 0 ? bytes32(0) : keccak256(plain.encodings[i]);
        }
        uint256 bit;
        uint256 hash;
        for (uint256 level = 0; level < 32; ++level) {
            uint256 kept;
            for (uint256 i = 0; i < count; ++i) {
                bool isPair = places[i] % 2 == 0 && i + 1 < count && places[i + 1] == places[i] + 1;
                bytes32 sibling;
                if (isPair) sibling = nodes[i + 1];
                else if (_bit(plain.bits, bit++)) sibling = plain.hashes[hash++];
                nodes[kept] =
                    places[i] % 2 == 0 ? PlainTree.parent(nodes[i], sibling) : PlainTree.parent(sibling, nodes[i]);
                places[kept++] = places[i] / 2;
                if (isPair) ++i;
            }
            count = kept;
        }
        return nodes[0];
    }

    function _changed(uint256 key, bytes memory encoding, uint8 change, uint256 value)
        private
        pure
        returns (bytes memory)
    {
        if (change == 1) return "";
        if (change == 2) {
            bytes memory fresh = new bytes(Leaves.lengthAt(key));
            fresh[0] = bytes1(uint8((key >> 30) + 1));
            return fresh;
        }
        // The first field of an account is 20 bytes behind the tag; other leaves have at least as many there.
        if (change == 3 && encoding.length != 0) {
            bytes memory written = bytes.concat(encoding);
            for (uint256 i = 0; i < 20; ++i) {
                written[1 + i] = bytes20(uint160(value >> 96))[i];
            }
            return written;
        }
        return encoding;
    }

    // ---------------------------------------------------------------------------------------------------- drawing

    function _draw(uint256[1] memory seed) private pure returns (Plain memory plain) {
        uint256 count = 1 + draw(seed, 7);
        plain.keys = new uint256[](count);
        plain.encodings = new bytes[](count);
        uint256 key = draw(seed, 4);
        for (uint256 i = 0; i + 1 < count; ++i) {
            plain.keys[i] = key;
            // Neighbours, cousins and leaves far away, with room for those that follow.
            uint256 kind = draw(seed, 3);
            key += kind == 0 ? 1 : kind == 1 ? 1 + draw(seed, 5) : 1 + draw(seed, (Leaves.META_KEY - key - 64) / 3);
        }
        plain.keys[count - 1] = Leaves.META_KEY;
        for (uint256 i = 0; i < count; ++i) {
            if (draw(seed, 4) == 0 && i + 1 < count) continue;
            plain.encodings[i] = drawBytes(seed, Leaves.lengthAt(plain.keys[i]));
            plain.encodings[i][0] = bytes1(uint8((plain.keys[i] >> 30) + 1));
        }
        plain.bitCount = _bitsNeeded(plain.keys);
        plain.bits = drawBytes(seed, (plain.bitCount + 7) / 8);
        uint256 hashes;
        for (uint256 i = 0; i < plain.bitCount; ++i) {
            if (_bit(plain.bits, i)) ++hashes;
        }
        plain.hashes = new bytes32[](hashes);
        for (uint256 i = 0; i < hashes; ++i) {
            plain.hashes[i] = bytes32(draw(seed, type(uint256).max) | 1);
        }
    }

    function _bitsNeeded(uint256[] memory keys) private pure returns (uint256 bits) {
        uint256[] memory places = new uint256[](keys.length);
        for (uint256 i = 0; i < keys.length; ++i) {
            places[i] = keys[i];
        }
        uint256 count = keys.length;
        for (uint256 level = 0; level < 32; ++level) {
            uint256 kept;
            for (uint256 i = 0; i < count; ++i) {
                bool isPair = places[i] % 2 == 0 && i + 1 < count && places[i + 1] == places[i] + 1;
                if (!isPair) ++bits;
                places[kept++] = places[i] / 2;
                if (isPair) ++i;
            }
            count = kept;
        }
    }

    function _pack(Plain memory plain) private pure returns (bytes memory) {
        return _packed(plain, plain.bitCount);
    }

    function _packed(Plain memory plain, uint256 bitCount) private pure returns (bytes memory witness) {
        witness = bytes.concat(bytes2(uint16(plain.keys.length)));
        for (uint256 i = 0; i < plain.keys.length; ++i) {
            bytes memory encoding = plain.encodings[i];
            witness = bytes.concat(witness, bytes4(uint32(plain.keys[i])), bytes1(uint8(encoding.length)), encoding);
        }
        witness = bytes.concat(witness, bytes2(uint16(bitCount)), plain.bits);
        for (uint256 i = 0; i < plain.hashes.length; ++i) {
            witness = bytes.concat(witness, plain.hashes[i]);
        }
    }

    function _bit(bytes memory bits, uint256 place) private pure returns (bool) {
        return uint8(bits[place / 8]) >> (7 - place % 8) & 1 == 1;
    }

    function _keyAt(bytes calldata witness, uint256 place) private pure returns (uint256 key) {
        uint256 offset = 2;
        for (uint256 i = 0; i < place; ++i) {
            offset += 5 + uint8(witness[offset + 4]);
        }
        return uint32(bytes4(witness[offset:offset + 4]));
    }
}
