// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Asset, AssetTransferFailed, IERC20} from "./Asset.sol";
import {Batches} from "./Batches.sol";
import {Frames} from "./Frames.sol";
import {Signatures} from "./Signatures.sol";

/// @dev Depth of the L2 state tree; here, so that the structs below can use it.
uint256 constant LEVELS = 32;

/// @title The ways out: withdrawals while the rollup runs, and everything else once it froze
/// @notice After a freeze, and once every batch that stands is final, each leaf of the last state pays out once, to whom it
/// belongs; whoever sends the transaction only pays its gas.
abstract contract Exits is Batches {
    using Asset for IERC20;
    using Signatures for bytes;

    /// @notice An account's leaf: `01 owner20 balance16 nonce8 stake16 unlocking16 unlockAt8 channels4 slashFrom4`.
    struct AccountLeaf {
        address owner;
        uint128 balance;
        uint64 nonce;
        uint128 stake;
        uint128 unlocking;
        uint64 unlockAt;
        uint32 channels;
        uint32 slashFrom;
    }

    /// @notice A withdrawal's leaf: `03 recipient20 amount16 account4 nonce8`. Account and nonce name what was withdrawn
    /// whatever number the leaf has: the account's nonce before, or account 0 and an inbox message's index.
    struct WithdrawalLeaf {
        address recipient;
        uint64 amount;
        uint32 account;
        uint64 nonce;
    }

    /// @notice A channel's leaf: `02 payer4 payee4 signer20 deposit16 redeemed16 expiry8 closingAt8`.
    struct ChannelLeaf {
        uint32 payer;
        uint32 payee;
        address signer;
        uint128 deposit;
        uint128 redeemed;
        uint64 expiry;
        uint64 closingAt;
    }

    /// @notice A channel with the accounts that its rest belongs to, each with its Merkle proof's siblings from the leaf up.
    struct ChannelProof {
        ChannelLeaf channel;
        bytes32[LEVELS] siblings;
        AccountLeaf payer;
        bytes32[LEVELS] payerSiblings;
        AccountLeaf payee;
        bytes32[LEVELS] payeeSiblings;
    }

    /// @notice A channel on its way out.
    /// @param payer Who gets what no voucher promises.
    /// @param settleAt When both are paid, in seconds; 0 if nobody began.
    /// @param payee Who gets what a voucher promises beyond `redeemed`.
    /// @param signer The voucher key's address; 0 if the channel was over before the freeze.
    /// @param redeemed What the payee was credited with on L2, in nano.
    /// @param toPayer In nano.
    /// @param toPayee In nano.
    struct ChannelExit {
        address payer;
        uint64 settleAt;
        address payee;
        address signer;
        uint128 redeemed;
        uint128 toPayer;
        uint128 toPayee;
    }

    /// @notice Depth of the L2 state tree.
    uint256 public constant STATE_DEPTH = LEVELS;
    /// @notice First state index of the channels, whose top two bits are `01`.
    uint32 public constant CHANNELS_FROM = 0x40000000;
    /// @notice First state index of the withdrawals, whose top two bits are `10`.
    uint32 public constant WITHDRAWALS_FROM = 0x80000000;
    /// @notice First state index beyond the withdrawals.
    uint32 public constant WITHDRAWALS_TO = 0xC0000000;
    /// @notice The tag that starts an account's leaf.
    uint8 public constant ACCOUNT_TAG = 1;
    /// @notice The tag that starts a channel's leaf.
    uint8 public constant CHANNEL_TAG = 2;
    /// @notice The tag that starts a withdrawal's leaf.
    uint8 public constant WITHDRAWAL_TAG = 3;

    bytes32 private constant _VOUCHER_TYPE = keccak256("Voucher(uint32 channel,uint64 cumulative)");

    /// @notice Whether the leaf at a state index was paid out: a withdrawal, or after a freeze an account or a channel.
    mapping(uint32 index => bool paid) public claimed;
    /// @notice Who bought a withdrawal's claim (see `FastWithdrawals`), by the hash of its leaf; 0 while it is its recipient's.
    mapping(bytes32 key => address claimant) public claimants;
    /// @notice Whether the deposit in an inbox message was paid back.
    mapping(uint256 index => bool paid) public refunded;
    /// @notice The channels on their way out, by number.
    mapping(uint32 channel => ChannelExit exit) public channelExits;

    /// @notice A withdrawal was paid, to its recipient or to who bought the claim.
    event WithdrawalClaimed(uint32 indexed index, address indexed recipient, uint64 amountNano, uint256 batchId);
    /// @notice After a freeze, an account was paid out.
    event AccountExited(uint32 indexed account, address indexed owner, uint256 amountNano);
    /// @notice After a freeze, a channel is on its way out, or a higher voucher changed whom it pays.
    event ChannelExitRaised(uint32 indexed channel, uint128 toPayer, uint128 toPayee, uint64 settleAt);
    /// @notice After a freeze, a channel's rest was paid to one of its parties.
    event ChannelExitPaid(uint32 indexed channel, address indexed recipient, uint128 amountNano);
    /// @notice After a freeze, a deposit that no batch executed was paid back.
    event DepositRefunded(uint256 indexed index, address indexed owner, uint64 amountNano);

    /// @notice The batch is not final.
    error NotFinal(uint256 finalCount);
    /// @notice The state index belongs to no withdrawal.
    error NotAWithdrawal(uint32 index);
    /// @notice The number is beyond its region of the state.
    error NoSuchNumber(uint32 number);
    /// @notice The leaf was paid out before.
    error AlreadyClaimed(uint32 index);
    /// @notice The proof leads to another root than the batch's.
    error WrongProof(bytes32 computed);
    /// @notice Exits open when the rollup is frozen and every batch that stands is final.
    error ExitsClosed();
    /// @notice The channel's time had run out by the last state: its rest is the payer's.
    error ChannelOver();
    /// @notice The voucher promises no more than is known, or more than the channel holds.
    error VoucherOutOfRange();
    /// @notice The voucher was not signed by the channel's voucher key.
    error WrongVoucher();
    /// @notice Nobody began this channel's exit, or it is over.
    error NoChannelExit();
    /// @notice Higher vouchers are taken until then, and both are paid from then on.
    error VoucherWindow(uint256 until);
    /// @notice The message is no deposit of this content, or the last state has it.
    error NotRefundable(uint256 index);

    modifier onlyAfterFreeze() {
        if (frozenAt == 0 || count != finalCount) revert ExitsClosed();
        _;
    }

    /// @notice Pays a withdrawal to its recipient, or who bought the claim, once; anyone may call. Every payout is rounded down to the asset's units.
    /// @param batchId A final batch whose state holds the withdrawal.
    /// @param index The withdrawal's state index.
    /// @param leaf What the batch's state holds for it.
    /// @param siblings The Merkle proof's siblings, from the leaf up.
    function claimWithdrawal(
        uint256 batchId,
        uint32 index,
        WithdrawalLeaf calldata leaf,
        bytes32[LEVELS] calldata siblings
    ) external {
        if (batchId >= finalCount) revert NotFinal(finalCount);
        address claimant = claimants[_checkWithdrawal(batchId, index, leaf, siblings)];
        if (claimant == address(0)) claimant = leaf.recipient;
        _claim(index);
        emit WithdrawalClaimed(index, claimant, leaf.amount, batchId);
        asset.pay(claimant, _units(leaf.amount));
    }

    /// @notice After a freeze, pays an account's balance, stake and stake on its way out to its owner, once; anyone may call.
    /// @param account The account's number.
    /// @param leaf What the last state holds for it.
    /// @param siblings The Merkle proof's siblings, from the leaf up.
    function exitAccount(uint32 account, AccountLeaf calldata leaf, bytes32[LEVELS] calldata siblings)
        external
        onlyAfterFreeze
    {
        _checkAccount(account, leaf, siblings);
        _claim(account);
        uint256 amountNano = uint256(leaf.balance) + leaf.stake + leaf.unlocking;
        emit AccountExited(account, leaf.owner, amountNano);
        asset.pay(leaf.owner, _units(amountNano));
    }

    /// @notice After a freeze, begins a channel's exit, with the highest voucher that the sender knows; anyone may call.
    /// @param channel The channel's number.
    /// @param proof What the last state holds for it and for both its accounts.
    /// @param cumulative What the voucher promises in all, in nano; 0 without a voucher.
    /// @param signature The voucher's signature of 64 bytes; empty without a voucher.
    function exitChannel(uint32 channel, ChannelProof calldata proof, uint64 cumulative, bytes calldata signature)
        external
        onlyAfterFreeze
    {
        if (channel >= CHANNELS_FROM) revert NoSuchNumber(channel);
        ChannelLeaf calldata leaf = proof.channel;
        _checkLeaf(headRoot(), CHANNELS_FROM + channel, _channelHash(leaf), proof.siblings);
        _checkAccount(leaf.payer, proof.payer, proof.payerSiblings);
        _checkAccount(leaf.payee, proof.payee, proof.payeeSiblings);
        _claim(CHANNELS_FROM + channel);
        uint64 l2Time = count == 0 ? 0 : _batches[count - 1].l2Time;
        bool isOver = l2Time >= leaf.expiry || (leaf.closingAt != 0 && leaf.closingAt <= l2Time);
        channelExits[channel] = ChannelExit({
            payer: proof.payer.owner,
            settleAt: uint64(block.timestamp) + challengeWindow,
            payee: proof.payee.owner,
            signer: isOver ? address(0) : leaf.signer,
            redeemed: leaf.redeemed,
            toPayer: leaf.deposit - leaf.redeemed,
            toPayee: 0
        });
        if (cumulative != 0 || signature.length != 0) {
            _raise(channel, cumulative, signature);
        } else {
            _announce(channel);
        }
    }

    /// @notice Takes a higher voucher into a channel's exit, within one challenge window of its beginning; anyone may call.
    /// @param channel The channel's number.
    /// @param cumulative What the voucher promises in all, in nano.
    /// @param signature The voucher's signature of 64 bytes.
    function raiseChannelExit(uint32 channel, uint64 cumulative, bytes calldata signature) external {
        uint256 until = channelExits[channel].settleAt;
        if (until == 0) revert NoChannelExit();
        if (block.timestamp >= until) revert VoucherWindow(until);
        _raise(channel, cumulative, signature);
    }

    /// @notice Pays a channel's rest to both parties, once its window for vouchers is over; anyone may call.
    /// @dev Where the asset refuses one of them, the other is paid all the same, and the call may be repeated.
    /// @param channel The channel's number.
    function settleChannelExit(uint32 channel) external {
        ChannelExit storage leaving = channelExits[channel];
        (uint128 toPayer, uint128 toPayee) = (leaving.toPayer, leaving.toPayee);
        if (leaving.settleAt == 0 || (toPayer == 0 && toPayee == 0)) revert NoChannelExit();
        if (block.timestamp < leaving.settleAt) revert VoucherWindow(leaving.settleAt);
        // Both are 0 while the asset is called, so that a call back finds nothing left.
        (leaving.toPayer, leaving.toPayee) = (0, 0);
        bool paidPayer = _tryPay(channel, leaving.payer, toPayer);
        bool paidPayee = _tryPay(channel, leaving.payee, toPayee);
        if ((!paidPayer || toPayer == 0) && (!paidPayee || toPayee == 0)) revert AssetTransferFailed();
        if (!paidPayer) leaving.toPayer = toPayer;
        if (!paidPayee) leaving.toPayee = toPayee;
    }

    /// @notice After a freeze, pays a deposit that the last state doesn't have back to its owner, once; anyone may call.
    /// @param index The message's place in the inbox.
    /// @param owner Who was to be credited on L2.
    /// @param indexHint The owner's L2 account index or another value, as deposited.
    /// @param amountNano How much, in nano.
    function refundDeposit(uint64 index, address owner, uint32 indexHint, uint64 amountNano) external onlyAfterFreeze {
        if (index < _inboxTo() || refunded[index] || !inbox.isDeposit(index, owner, indexHint, amountNano)) {
            revert NotRefundable(index);
        }
        refunded[index] = true;
        emit DepositRefunded(index, owner, amountNano);
        asset.pay(owner, _units(amountNano));
    }

    function _raise(uint32 channel, uint64 cumulative, bytes calldata signature) private {
        ChannelExit storage leaving = channelExits[channel];
        if (leaving.signer == address(0)) revert ChannelOver();
        uint128 rest = leaving.toPayer + leaving.toPayee;
        if (cumulative <= leaving.redeemed + leaving.toPayee || cumulative - leaving.redeemed > rest) {
            revert VoucherOutOfRange();
        }
        bytes32 voucher = keccak256(abi.encode(_VOUCHER_TYPE, channel, cumulative));
        if (signature.signer(domainSeparator, voucher) != leaving.signer) revert WrongVoucher();
        leaving.toPayee = cumulative - leaving.redeemed;
        leaving.toPayer = rest - leaving.toPayee;
        _announce(channel);
    }

    function _announce(uint32 channel) private {
        ChannelExit storage leaving = channelExits[channel];
        emit ChannelExitRaised(channel, leaving.toPayer, leaving.toPayee, leaving.settleAt);
    }

    function _tryPay(uint32 channel, address to, uint128 amountNano) private returns (bool) {
        if (amountNano == 0) return true;
        if (!asset.tryPay(to, _units(amountNano))) return false;
        emit ChannelExitPaid(channel, to, amountNano);
        return true;
    }

    function _claim(uint32 index) private {
        if (claimed[index]) revert AlreadyClaimed(index);
        claimed[index] = true;
    }

    /// @dev That a batch's state holds a withdrawal; returns the key that its claim goes by, which no number changes.
    function _checkWithdrawal(
        uint256 batchId,
        uint32 index,
        WithdrawalLeaf calldata leaf,
        bytes32[LEVELS] calldata siblings
    ) internal view returns (bytes32 key) {
        if (index < WITHDRAWALS_FROM || index >= WITHDRAWALS_TO) revert NotAWithdrawal(index);
        key = keccak256(
            abi.encodePacked(WITHDRAWAL_TAG, leaf.recipient, uint128(leaf.amount), leaf.account, leaf.nonce)
        );
        _checkLeaf(_batches[batchId].postRoot, index, key, siblings);
    }

    function _checkAccount(uint32 account, AccountLeaf calldata leaf, bytes32[LEVELS] calldata siblings)
        private
        view
    {
        if (account >= CHANNELS_FROM) revert NoSuchNumber(account);
        bytes32 hash = keccak256(
            abi.encodePacked(
                ACCOUNT_TAG,
                leaf.owner,
                leaf.balance,
                leaf.nonce,
                leaf.stake,
                leaf.unlocking,
                leaf.unlockAt,
                leaf.channels,
                leaf.slashFrom
            )
        );
        _checkLeaf(headRoot(), account, hash, siblings);
    }

    function _channelHash(ChannelLeaf calldata leaf) private pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                CHANNEL_TAG,
                leaf.payer,
                leaf.payee,
                leaf.signer,
                leaf.deposit,
                leaf.redeemed,
                leaf.expiry,
                leaf.closingAt
            )
        );
    }

    function _checkLeaf(bytes32 root, uint32 index, bytes32 computed, bytes32[LEVELS] calldata siblings)
        private
        pure
    {
        for (uint256 level = 0; level < LEVELS; ++level) {
            computed = (index >> level) & 1 == 0
                ? Frames.node(computed, siblings[level])
                : Frames.node(siblings[level], computed);
        }
        if (computed != root) revert WrongProof(computed);
    }
}
