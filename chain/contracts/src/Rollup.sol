// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Asset, IERC20} from "./Asset.sol";
import {Frames} from "./Frames.sol";
import {Inbox} from "./Inbox.sol";

/// @title The Idlewatt rollup: batches of L2 transactions, their finality, and the money behind them
/// @notice No owner, no proxy, no pause: what is deployed is what runs. Anyone with a bond may post a batch, anyone may make
/// the batches past their window final, and anyone may submit a claim, which pays its recipient.
/// @dev Batches below `finalCount` never change. Those from there to `count` stand on trust in their submitter's bond, and
/// taking them back is `count = id`: no loop, and the inbox cursor returns with it, since it lives in the batches.
contract Rollup {
    using Asset for IERC20;

    /// @notice One batch as posted.
    /// @param framesRoot The Merkle root of its frames (see `Frames`).
    /// @param postRoot The L2 state root after it.
    /// @param submitter Whose bond answers for it.
    /// @param submittedAt When it was posted, in seconds; its window starts here.
    /// @param frameCount How many frames it has; fixes the depth of their tree.
    /// @param l2Time The second that its transactions see.
    /// @param inboxTo How far the inbox is executed after it.
    /// @param blockNumber The block whose transactions carry its data.
    struct Batch {
        bytes32 framesRoot;
        bytes32 postRoot;
        address submitter;
        uint64 submittedAt;
        uint32 frameCount;
        uint64 l2Time;
        uint64 inboxTo;
        uint64 blockNumber;
    }

    /// @notice What a sequencer put up.
    /// @param amount In wei.
    /// @param batchesTo One past its newest batch; the bond stays until that many are final.
    struct Bond {
        uint128 amount;
        uint64 batchesTo;
    }

    /// @notice The least bond of a submitter.
    uint256 public constant MIN_BOND = 1 ether;
    /// @notice The longest blob that is taken, so that one transaction can always re-execute a frame of it.
    uint256 public constant MAX_BLOB_BYTES = 110_000;
    /// @notice How far a batch's L2 time may run ahead of the L1 block's, in seconds.
    uint256 public constant MAX_TIME_AHEAD = 60;
    /// @notice Depth of the L2 state tree.
    uint256 public constant STATE_DEPTH = 32;
    /// @notice First state index of the withdrawals, whose top two bits are `10`.
    uint32 public constant WITHDRAWALS_FROM = 0x80000000;
    /// @notice First state index beyond the withdrawals.
    uint32 public constant WITHDRAWALS_TO = 0xC0000000;
    /// @notice The tag that starts a withdrawal's leaf.
    uint8 public constant WITHDRAWAL_TAG = 3;

    /// @notice The settlement asset.
    IERC20 public immutable asset;
    /// @notice Where deposits arrive.
    Inbox public immutable inbox;
    /// @notice The asset's smallest units in one nano.
    uint256 public immutable unitsPerNano;
    /// @notice The state root before the first batch.
    bytes32 public immutable genesisRoot;
    /// @notice How long a batch can be challenged, in seconds.
    uint64 public immutable challengeWindow;
    /// @notice How long a sequencer may leave an inbox message waiting, in seconds.
    uint64 public immutable forceDelay;
    /// @notice How long a payer who closes a channel alone must wait on L2, in seconds.
    uint64 public immutable closeDelay;
    /// @notice The L2's chain id, part of what its users sign.
    uint64 public immutable l2ChainId;
    /// @notice The EIP-712 domain of everything signed for this deployment.
    bytes32 public immutable domainSeparator;

    /// @notice How many batches stand; the next one's id.
    uint256 public count;
    /// @notice How many of them are final.
    uint256 public finalCount;
    /// @notice What each sequencer put up.
    mapping(address sequencer => Bond bond) public bonds;
    /// @notice Whether the withdrawal at a state index was paid.
    mapping(uint32 index => bool paid) public claimed;
    mapping(uint256 id => Batch batch) private _batches;

    /// @notice A batch was posted; its data is the posting transaction's own calldata.
    event BatchSubmitted(
        uint256 indexed id,
        address indexed submitter,
        bytes32 prevRoot,
        bytes32 postRoot,
        bytes32 framesRoot,
        uint32 frameCount,
        uint64 l2Time,
        uint64 inboxTo
    );
    /// @notice Every batch below `count` is final now.
    event Finalized(uint256 count, bytes32 root);
    /// @notice A withdrawal was paid.
    event WithdrawalClaimed(uint32 indexed index, address indexed recipient, uint64 amountNano, uint256 batchId);
    /// @notice A sequencer added to its bond.
    event BondDeposited(address indexed sequencer, uint256 amount, uint256 total);
    /// @notice A sequencer took its bond back.
    event BondWithdrawn(address indexed sequencer, uint256 amount);

    /// @notice The asset's decimals leave no whole number of units to a nano, or too many.
    error UnsupportedDecimals(uint8 decimals);
    /// @notice Another batch took this id, or it lies ahead.
    error WrongBatchId(uint256 expected);
    /// @notice The batch builds on another state than the newest one.
    error WrongPreviousRoot(bytes32 expected);
    /// @notice Batch data must be the calldata of a transaction signed by its sender, so that everyone can read it there.
    error NotSentDirectly();
    /// @notice The sender's bond is below `MIN_BOND`.
    error BondTooSmall(uint256 bonded);
    /// @notice The blob is longer than `MAX_BLOB_BYTES`.
    error BlobTooLong(uint256 length);
    /// @notice L2 time lies before the previous batch's.
    error L2TimeBackwards(uint64 previous);
    /// @notice L2 time runs more than `MAX_TIME_AHEAD` before this block's.
    error L2TimeAhead(uint256 blockTime);
    /// @notice The batch executes less of the inbox than the one before it.
    error InboxBackwards(uint64 previous);
    /// @notice The batch claims more inbox messages than have arrived.
    error InboxBeyondEnd(uint256 length);
    /// @notice Nothing new would become final, or batches would that don't exist.
    error NothingToFinalize(uint256 finalCount, uint256 count);
    /// @notice The newest of these batches can still be challenged.
    error WindowOpen(uint256 until);
    /// @notice The batch is not final.
    error NotFinal(uint256 finalCount);
    /// @notice The state index belongs to no withdrawal.
    error NotAWithdrawal(uint32 index);
    /// @notice This withdrawal was paid before.
    error AlreadyClaimed(uint32 index);
    /// @notice The proof leads to another root than the batch's.
    error WrongProof(bytes32 computed);
    /// @notice The sender has no bond.
    error NoBond();
    /// @notice The sender's newest batch is not final.
    error BondLocked(uint256 untilFinalCount);
    /// @notice The sender refused its ether.
    error EtherRefused();
    /// @notice No batch has this id.
    error NoSuchBatch(uint256 count);

    /// @param asset_ The settlement asset, with 9 to 27 decimals.
    /// @param genesisRoot_ The L2 state root before the first batch.
    /// @param challengeWindow_ How long a batch can be challenged, in seconds.
    /// @param forceDelay_ How long an inbox message may wait, in seconds.
    /// @param closeDelay_ How long a lone channel close waits on L2, in seconds.
    /// @param l2ChainId_ The L2's chain id.
    constructor(
        IERC20 asset_,
        bytes32 genesisRoot_,
        uint64 challengeWindow_,
        uint64 forceDelay_,
        uint64 closeDelay_,
        uint64 l2ChainId_
    ) {
        uint8 decimals = asset_.decimals();
        if (decimals < 9 || decimals > 27) revert UnsupportedDecimals(decimals);
        asset = asset_;
        unitsPerNano = 10 ** (decimals - 9);
        genesisRoot = genesisRoot_;
        challengeWindow = challengeWindow_;
        forceDelay = forceDelay_;
        closeDelay = closeDelay_;
        l2ChainId = l2ChainId_;
        inbox = new Inbox(asset_, 10 ** (decimals - 9));
        domainSeparator = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Idlewatt"),
                keccak256("1"),
                uint256(l2ChainId_),
                address(this)
            )
        );
    }

    // ---------------------------------------------------------------------------------------------- sequencing

    /// @notice Adds to the sender's bond.
    function depositBond() external payable {
        Bond storage bond = bonds[msg.sender];
        bond.amount += uint128(msg.value);
        emit BondDeposited(msg.sender, msg.value, bond.amount);
    }

    /// @notice Returns the sender's whole bond, once its newest batch is final.
    function withdrawBond() external {
        Bond storage bond = bonds[msg.sender];
        uint256 amount = bond.amount;
        if (amount == 0) revert NoBond();
        if (bond.batchesTo > finalCount) revert BondLocked(bond.batchesTo);
        bond.amount = 0;
        emit BondWithdrawn(msg.sender, amount);
        (bool success,) = msg.sender.call{value: amount}("");
        if (!success) revert EtherRefused();
    }

    /// @notice Posts the next batch.
    /// @param id Its id: the number of batches before it.
    /// @param prevRoot The state root it builds on, so that a batch meant for another history never lands.
    /// @param blob Its data (see `Frames`).
    function submitBatch(uint256 id, bytes32 prevRoot, bytes calldata blob) external {
        if (msg.sender != tx.origin || msg.sender.code.length != 0) revert NotSentDirectly();
        if (id != count) revert WrongBatchId(count);
        if (prevRoot != headRoot()) revert WrongPreviousRoot(headRoot());
        Bond storage bond = bonds[msg.sender];
        if (bond.amount < MIN_BOND) revert BondTooSmall(bond.amount);
        if (blob.length > MAX_BLOB_BYTES) revert BlobTooLong(blob.length);
        Batch memory posted = _read(blob);
        _checkOrder(id, posted.l2Time, posted.inboxTo);
        bond.batchesTo = uint64(id + 1);
        _batches[id] = posted;
        count = id + 1;
        emit BatchSubmitted(
            id,
            msg.sender,
            prevRoot,
            posted.postRoot,
            posted.framesRoot,
            posted.frameCount,
            posted.l2Time,
            posted.inboxTo
        );
    }

    // ------------------------------------------------------------------------------------------------ finality

    /// @notice Makes every batch below `upTo` final, where the newest of them is past its window; anyone may call.
    /// @param upTo One past the newest batch to make final.
    function finalize(uint256 upTo) external {
        if (upTo <= finalCount || upTo > count) revert NothingToFinalize(finalCount, count);
        // Later batches were posted later, so the newest one's window is the last to end.
        uint256 until = uint256(_batches[upTo - 1].submittedAt) + challengeWindow;
        if (block.timestamp < until) revert WindowOpen(until);
        finalCount = upTo;
        emit Finalized(upTo, _batches[upTo - 1].postRoot);
    }

    /// @notice Pays a withdrawal to its recipient, once; anyone may call.
    /// @param batchId A final batch whose state holds the withdrawal.
    /// @param index The withdrawal's state index.
    /// @param recipient Who is paid.
    /// @param amountNano How much, in nano.
    /// @param siblings The Merkle proof's siblings, from the leaf up.
    function claimWithdrawal(
        uint256 batchId,
        uint32 index,
        address recipient,
        uint64 amountNano,
        bytes32[STATE_DEPTH] calldata siblings
    ) external {
        if (batchId >= finalCount) revert NotFinal(finalCount);
        if (index < WITHDRAWALS_FROM || index >= WITHDRAWALS_TO) revert NotAWithdrawal(index);
        if (claimed[index]) revert AlreadyClaimed(index);
        bytes32 computed = keccak256(abi.encodePacked(WITHDRAWAL_TAG, recipient, uint128(amountNano)));
        for (uint256 level = 0; level < STATE_DEPTH; ++level) {
            computed = (index >> level) & 1 == 0
                ? Frames.node(computed, siblings[level])
                : Frames.node(siblings[level], computed);
        }
        if (computed != _batches[batchId].postRoot) revert WrongProof(computed);
        claimed[index] = true;
        emit WithdrawalClaimed(index, recipient, amountNano, batchId);
        asset.pay(recipient, uint256(amountNano) * unitsPerNano);
    }

    // ------------------------------------------------------------------------------------------------- reading

    /// @notice The newest batch's state root, final or not; the next batch builds on it.
    function headRoot() public view returns (bytes32) {
        return count == 0 ? genesisRoot : _batches[count - 1].postRoot;
    }

    /// @notice One batch that stands.
    /// @param id Its id.
    function batch(uint256 id) external view returns (Batch memory) {
        if (id >= count) revert NoSuchBatch(count);
        return _batches[id];
    }

    /// @notice Up to `limit` batches from `start` on; fewer at the end, none beyond it.
    /// @param start The first batch's id.
    /// @param limit How many at most.
    /// @return page The batches in their order.
    function batches(uint256 start, uint256 limit) external view returns (Batch[] memory page) {
        uint256 total = count;
        if (start >= total) return page;
        uint256 size = total - start < limit ? total - start : limit;
        page = new Batch[](size);
        for (uint256 i = 0; i < size; ++i) {
            page[i] = _batches[start + i];
        }
    }

    /// @notice How many batches `finalize` would make final in this block: its argument, if greater than `finalCount`.
    /// @param limit How many batches to look at, at most.
    function finalizable(uint256 limit) external view returns (uint256 upTo) {
        upTo = finalCount;
        for (uint256 i = 0; i < limit && upTo < count; ++i) {
            if (block.timestamp < uint256(_batches[upTo].submittedAt) + challengeWindow) break;
            ++upTo;
        }
    }

    function _read(bytes calldata blob) private view returns (Batch memory read) {
        (read.l2Time, read.inboxTo) = Frames.header(blob);
        (read.framesRoot, read.postRoot, read.frameCount) = Frames.digest(blob);
        read.submitter = msg.sender;
        read.submittedAt = uint64(block.timestamp);
        read.blockNumber = uint64(block.number);
    }

    function _checkOrder(uint256 id, uint64 l2Time, uint64 inboxTo) private view {
        if (id != 0) {
            Batch storage previous = _batches[id - 1];
            if (l2Time < previous.l2Time) revert L2TimeBackwards(previous.l2Time);
            if (inboxTo < previous.inboxTo) revert InboxBackwards(previous.inboxTo);
        }
        if (l2Time > block.timestamp + MAX_TIME_AHEAD) revert L2TimeAhead(block.timestamp);
        uint256 arrived = inbox.length();
        if (inboxTo > arrived) revert InboxBeyondEnd(arrived);
    }
}
