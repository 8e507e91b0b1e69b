// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Why a step is wrong
/// @notice The outcomes of the state transition, as `docs/rollup.md` lists them; 8, the wrong root, is its caller's to find.
library Codes {
    /// @notice Nothing is wrong.
    uint8 internal constant OK = 0;
    /// @notice The bytes are truncated or malformed.
    uint8 internal constant MALFORMED = 1;
    /// @notice No transaction has this type.
    uint8 internal constant UNKNOWN_TYPE = 2;
    /// @notice The account that acts doesn't exist.
    uint8 internal constant MISSING_SENDER = 3;
    /// @notice The signature's `s` is in the upper half of the order.
    uint8 internal constant MALLEABLE_SIGNATURE = 4;
    /// @notice Somebody else signed, or something else was signed.
    uint8 internal constant BAD_SIGNATURE = 5;
    /// @notice The account has less than it spends.
    uint8 internal constant OVERDRAFT = 6;
    /// @notice The account that receives doesn't exist.
    uint8 internal constant MISSING_RECEIVER = 7;
    /// @notice More than eight transactions or messages in one frame.
    uint8 internal constant TOO_MANY_IN_FRAME = 9;
    /// @notice The channel is missing, closing or over.
    uint8 internal constant CHANNEL_UNAVAILABLE = 10;
    /// @notice The voucher or the closing amount doesn't fit the channel.
    uint8 internal constant BAD_VOUCHER = 11;
    /// @notice The channel isn't over yet.
    uint8 internal constant TOO_EARLY = 12;
    /// @notice The stake doesn't allow this.
    uint8 internal constant STAKE_VIOLATION = 13;
    /// @notice The receipts don't prove that a provider contradicted itself.
    uint8 internal constant BAD_SLASH_EVIDENCE = 14;
    /// @notice Inbox messages out of order, or transactions before them.
    uint8 internal constant INBOX_ORDER = 15;
    /// @notice The batch ends with another inbox cursor than its header says.
    uint8 internal constant WRONG_CURSOR = 16;
    /// @notice The next free leaf isn't free.
    uint8 internal constant BAD_ALLOCATION = 17;
    /// @notice A number would outgrow its field, or a region is full.
    uint8 internal constant OVERFLOW = 18;
}
