// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice A leaf of the state in memory: the address of its record. Zero stands for no leaf.
type Leaf is uint256;

/// @notice A field of a leaf: its distance in bytes from the record's start, times 256, plus 256 less its bits.
type Field is uint256;

/// @title The leaves of the L2 state, read and written in place
/// @notice A record is a word `key ‖ length1` and the leaf's packed encoding, padded to 96 bytes. Fields are changed inside
/// the encoding, so two names of one leaf can never disagree, and hashing a leaf needs no copy.
library Leaves {
    /// @notice Bytes of a record.
    uint256 internal constant RECORD_BYTES = 0x80;
    /// @notice Where the encoding starts in it.
    uint256 internal constant ENCODING = 0x20;
    /// @notice Leaves in one region.
    uint256 internal constant REGION_CAPACITY = 1 << 30;
    /// @notice First state index of the channels.
    uint256 internal constant CHANNELS_FROM = 1 << 30;
    /// @notice First state index of the withdrawals.
    uint256 internal constant WITHDRAWALS_FROM = 2 << 30;
    /// @notice State index of the one meta leaf.
    uint256 internal constant META_KEY = 3 << 30;

    /// @notice Who owns an account.
    Field internal constant OWNER = Field.wrap((0x21 << 8) | 96);
    /// @notice What an account can spend, in nano.
    Field internal constant BALANCE = Field.wrap((0x35 << 8) | 128);
    /// @notice How often an account spent.
    Field internal constant NONCE = Field.wrap((0x45 << 8) | 192);
    /// @notice What a provider put up, in nano.
    Field internal constant STAKE = Field.wrap((0x4d << 8) | 128);
    /// @notice The stake on its way out, in nano.
    Field internal constant UNLOCKING = Field.wrap((0x5d << 8) | 128);
    /// @notice When it is out, in L2 seconds.
    Field internal constant UNLOCK_AT = Field.wrap((0x6d << 8) | 192);
    /// @notice How many open channels an account is a party of; one to itself counts twice.
    Field internal constant CHANNELS = Field.wrap((0x75 << 8) | 224);
    /// @notice Which channel was next when an account's stake was first put up.
    Field internal constant SLASH_FROM = Field.wrap((0x79 << 8) | 224);

    /// @notice The account that pays into a channel.
    Field internal constant PAYER = Field.wrap((0x21 << 8) | 224);
    /// @notice The account that is paid from it.
    Field internal constant PAYEE = Field.wrap((0x25 << 8) | 224);
    /// @notice Whose key signs its vouchers.
    Field internal constant SIGNER = Field.wrap((0x29 << 8) | 96);
    /// @notice All that was paid in, in nano.
    Field internal constant DEPOSIT = Field.wrap((0x3d << 8) | 128);
    /// @notice All that was redeemed, in nano.
    Field internal constant REDEEMED = Field.wrap((0x4d << 8) | 128);
    /// @notice When it ends, in L2 seconds.
    Field internal constant EXPIRY = Field.wrap((0x5d << 8) | 192);
    /// @notice When the payer's lone close may be finished, in L2 seconds; 0 while nobody closes.
    Field internal constant CLOSING_AT = Field.wrap((0x65 << 8) | 192);

    /// @notice Who is paid on L1.
    Field internal constant RECIPIENT = Field.wrap((0x21 << 8) | 96);
    /// @notice How much, in nano.
    Field internal constant AMOUNT = Field.wrap((0x35 << 8) | 128);
    /// @notice Whose money it was; 0 for a deposit that could not be credited.
    Field internal constant ACCOUNT = Field.wrap((0x45 << 8) | 224);
    /// @notice That account's nonce then, or the inbox message's index.
    Field internal constant ACCOUNT_NONCE = Field.wrap((0x49 << 8) | 192);

    /// @notice The number that the next account gets.
    Field internal constant NEXT_ACCOUNT = Field.wrap((0x21 << 8) | 224);
    /// @notice The id that the next channel gets.
    Field internal constant NEXT_CHANNEL = Field.wrap((0x25 << 8) | 224);
    /// @notice The number that the next withdrawal gets.
    Field internal constant NEXT_WITHDRAWAL = Field.wrap((0x29 << 8) | 224);
    /// @notice The next inbox message to execute.
    Field internal constant INBOX_CURSOR = Field.wrap((0x2d << 8) | 192);
    /// @notice The second that the newest batch's transactions see.
    Field internal constant L2_TIME = Field.wrap((0x35 << 8) | 192);
    /// @notice The fees collected, in nano.
    Field internal constant FEE_POOL = Field.wrap((0x3d << 8) | 128);
    /// @notice Everything ever deposited, in nano.
    Field internal constant SUPPLY = Field.wrap((0x4d << 8) | 128);

    /// @notice The length of the leaves in a state index's region.
    /// @param key The state index.
    function lengthAt(uint256 key) internal pure returns (uint256) {
        // Account 93, channel 77, withdrawal 49, meta 61: the region picks a byte.
        return (0x3d314d5d >> ((key >> 30) << 3)) & 0xff;
    }

    /// @notice Reads a field.
    /// @param leaf The leaf.
    /// @param field One of its kind's fields.
    function get(Leaf leaf, Field field) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(and(field, 0xff), mload(add(leaf, shr(8, field))))
        }
    }

    /// @notice Writes a field.
    /// @param leaf The leaf.
    /// @param field One of its kind's fields.
    /// @param value What fits the field: the caller has checked it.
    function put(Leaf leaf, Field field, uint256 value) internal pure {
        assembly ("memory-safe") {
            let at := add(leaf, shr(8, field))
            let shift := and(field, 0xff)
            mstore(at, or(shl(shift, value), and(mload(at), sub(shl(shift, 1), 1))))
        }
    }

    /// @notice Whether the state has a leaf here.
    /// @param leaf The record.
    function isPresent(Leaf leaf) internal pure returns (bool present) {
        assembly ("memory-safe") {
            present := iszero(iszero(and(mload(leaf), 0xff)))
        }
    }

    /// @notice Puts an all-zero leaf of its region's kind here.
    /// @param leaf The record.
    function create(Leaf leaf) internal pure {
        uint256 key = Leaf.unwrap(leaf);
        assembly ("memory-safe") {
            key := shr(8, mload(key))
        }
        uint256 length = lengthAt(key);
        assembly ("memory-safe") {
            mstore(leaf, or(shl(8, key), length))
            // Tags count regions from 1.
            mstore(add(leaf, 0x20), shl(248, add(shr(30, key), 1)))
            mstore(add(leaf, 0x40), 0)
            mstore(add(leaf, 0x60), 0)
        }
    }

    /// @notice Removes the leaf.
    /// @param leaf The record.
    function remove(Leaf leaf) internal pure {
        assembly ("memory-safe") {
            mstore(leaf, and(mload(leaf), not(0xff)))
        }
    }

    /// @notice What the tree has at this leaf's index: the hash of its encoding, or zero.
    /// @param leaf The record.
    function hash(Leaf leaf) internal pure returns (bytes32 value) {
        assembly ("memory-safe") {
            let length := and(mload(leaf), 0xff)
            if length { value := keccak256(add(leaf, 0x20), length) }
        }
    }
}
