// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Asset, IERC20} from "./Asset.sol";
import {Frames} from "./Frames.sol";
import {Inbox} from "./Inbox.sol";
import {IStf} from "./IStf.sol";
import {ParameterRules, Parameters} from "./Parameters.sol";
import {Sequencers} from "./Sequencers.sol";

/// @title The rollup's batches: submission, finality and the freeze
/// @dev Batches below `finalCount` never change. Those from there to `count` stand on their submitter's bond, and taking
/// them back is `count = id`: no loop, and the inbox cursor returns with it, since it lives in the batches.
abstract contract Batches is Sequencers {
    /// @notice One batch as posted.
    /// @param framesRoot The Merkle root of its frames (see `Frames`).
    /// @param postRoot The L2 state root after it.
    /// @param submitter Whose bond answers for it.
    /// @param submittedAt When it was posted, in seconds; its window starts here.
    /// @param frameCount How many frames it has; fixes the depth of their tree.
    /// @param l2Time The second that its transactions see.
    /// @param inboxTo How far the inbox is executed after it.
    /// @param blockNumber The block whose transactions carry its data.
    /// @param bondEpoch Which of its submitter's bonds answers for it.
    struct Batch {
        bytes32 framesRoot;
        bytes32 postRoot;
        address submitter;
        uint64 submittedAt;
        uint32 frameCount;
        uint64 l2Time;
        uint64 inboxTo;
        uint64 blockNumber;
        uint32 bondEpoch;
    }

    /// @notice The longest blob that is taken, so that one transaction can always carry and frame it.
    uint256 public constant MAX_BLOB_BYTES = 110_000;
    /// @notice A batch that executes this many inbox messages need not reach those that wait too long behind them: else
    /// more messages than fit into one batch would stop the rollup.
    uint256 public constant AMPLE_MESSAGES = 512;

    /// @dev Where the blob begins in canonical calldata: behind the selector, four words and its length.
    uint256 private constant _BLOB_OFFSET = 4 + 5 * 32;

    /// @notice The settlement asset.
    IERC20 public immutable asset;
    /// @notice The state transition that disputes are decided by.
    IStf public immutable stf;
    /// @notice Where deposits and forced transactions arrive.
    Inbox public immutable inbox;
    /// @notice The asset's smallest units in one nano; 1 where a unit is worth several.
    uint256 public immutable unitsPerNano;
    /// @notice Nano in the asset's smallest unit; 1 where a nano has several.
    uint256 public immutable nanoPerUnit;
    /// @notice The state root before the first batch.
    bytes32 public immutable genesisRoot;
    /// @notice How long a batch can be challenged, in seconds.
    uint64 public immutable challengeWindow;
    /// @notice How long a batch may leave an inbox message waiting, and L2 time may lag, in seconds.
    uint64 public immutable forceDelay;
    /// @notice How long a message waits before anyone with a bond may sequence, in seconds.
    uint64 public immutable takeoverDelay;
    /// @notice How long a message waits before anyone may freeze the rollup, in seconds.
    uint64 public immutable freezeDelay;
    /// @notice How long a payer who closes a channel alone must wait, in L2 seconds.
    uint64 public immutable closeDelay;
    /// @notice How long a stake on its way out stays slashable, in L2 seconds.
    uint64 public immutable unstakeDelay;
    /// @notice How many L1 blocks lie between a fraud proof's commitment and its reveal, at least.
    uint64 public immutable revealDelay;
    /// @notice The L2's chain id, for wallets that tell networks apart by it.
    uint64 public immutable l2ChainId;
    /// @notice The hash of the block before the deploying one: a fork of this L1 with the same chain id, or the same address
    /// on a chain that was reset, has another one, and so another domain.
    bytes32 public immutable deploymentSalt;
    /// @notice How far a batch's L2 time may run ahead of the L1 block's, in seconds.
    uint64 public immutable maxTimeAhead;
    /// @notice The EIP-712 domain of everything signed for this deployment.
    bytes32 public immutable domainSeparator;
    /// @notice The block that it was deployed in: no event of it is older.
    uint64 public immutable deployedAt;

    /// @notice When the rollup froze, in seconds; 0 while it runs.
    uint64 public frozenAt;
    mapping(uint256 id => Batch batch) internal _batches;

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
    /// @notice The rollup froze, since nobody executed this inbox message.
    event Frozen(uint256 indexed messageIndex, uint64 messageArrivedAt);

    /// @notice The asset has too few decimals to settle in, or so many that amounts overflow.
    error UnsupportedDecimals(uint8 decimals);
    /// @notice The parameters break this rule of `ParameterRules`.
    error InvalidParameters(uint256 rule);
    /// @notice Another batch took this id, or it lies ahead.
    error WrongBatchId(uint256 expected);
    /// @notice The batch builds on another state than the newest one.
    error WrongPreviousRoot(bytes32 expected);
    /// @notice Batch data must be the calldata of a transaction signed by its sender, so that everyone can read it there.
    error NotSentDirectly();
    /// @notice The calldata is not the one canonical encoding of this call. Solidity itself takes any offset, padding and
    /// trailing bytes; everyone reads batches back from calldata, so there is one way to write them.
    error NotCanonical();
    /// @notice The blob is longer than `MAX_BLOB_BYTES`.
    error BlobTooLong(uint256 length);
    /// @notice L2 time lies before the previous batch's.
    error L2TimeBackwards(uint64 previous);
    /// @notice L2 time runs more than `maxTimeAhead` before this block's.
    error L2TimeAhead(uint256 blockTime);
    /// @notice L2 time lags this block's by more than `forceDelay`: expiries and unlock times would never come.
    error L2TimeBehind(uint256 blockTime);
    /// @notice The batch executes less of the inbox than the one before it.
    error InboxBackwards(uint64 previous);
    /// @notice The batch claims more inbox messages than have arrived.
    error InboxBeyondEnd(uint256 length);
    /// @notice The inbox holds other messages than the batch was built on, as after an L1 reorg.
    error WrongInboxHash(bytes32 expected);
    /// @notice The batch leaves out this inbox message, which has waited longer than `forceDelay`.
    error InboxIgnored(uint64 index);
    /// @notice Nothing new would become final, or batches would that don't exist.
    error NothingToFinalize(uint256 finalCount, uint256 count);
    /// @notice The newest of these batches can still be challenged.
    error WindowOpen(uint256 until);
    /// @notice No batch has this id.
    error NoSuchBatch(uint256 count);
    /// @notice The rollup froze: it takes no batch any more.
    error AlreadyFrozen();
    /// @notice No inbox message has waited longer than `freezeDelay`.
    error NotOverdue();

    constructor(Parameters memory parameters) Sequencers(parameters) {
        uint256 rule = ParameterRules.broken(parameters);
        if (rule != 0) revert InvalidParameters(rule);
        uint8 decimals = parameters.asset.decimals();
        if (decimals < Asset.MIN_DECIMALS || decimals > Asset.MAX_DECIMALS) revert UnsupportedDecimals(decimals);
        asset = parameters.asset;
        stf = parameters.stf;
        (unitsPerNano, nanoPerUnit) = Asset.ratio(decimals);
        genesisRoot = parameters.genesisRoot;
        challengeWindow = parameters.challengeWindow;
        forceDelay = parameters.forceDelay;
        takeoverDelay = parameters.takeoverDelay;
        freezeDelay = parameters.freezeDelay;
        closeDelay = parameters.closeDelay;
        unstakeDelay = parameters.unstakeDelay;
        revealDelay = parameters.revealDelay;
        l2ChainId = parameters.l2ChainId;
        deployedAt = uint64(block.number);
        inbox = new Inbox(parameters.asset, unitsPerNano, nanoPerUnit);
        bytes32 salt = blockhash(block.number - 1);
        deploymentSalt = salt;
        maxTimeAhead = parameters.maxTimeAhead;
        domainSeparator = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
                ),
                keccak256("Idlewatt"),
                keccak256("1"),
                block.chainid,
                address(this),
                salt
            )
        );
    }

    // ---------------------------------------------------------------------------------------------- sequencing

    /// @notice Posts the next batch.
    /// @param id Its id: the number of batches before it.
    /// @param prevRoot The state root it builds on, so that a batch meant for another history never lands.
    /// @param inboxHash The inbox's hash of every message that it and the batches before it execute (see `Inbox.hashOf`), so
    /// that it never lands on other messages than it was built on.
    /// @param blob Its data (see `Frames`).
    function submitBatch(uint256 id, bytes32 prevRoot, bytes32 inboxHash, bytes calldata blob) external {
        if (msg.sender != tx.origin || msg.sender.code.length != 0) revert NotSentDirectly();
        if (!_isCanonical(blob)) revert NotCanonical();
        if (frozenAt != 0) revert AlreadyFrozen();
        if (id != count) revert WrongBatchId(count);
        if (prevRoot != headRoot()) revert WrongPreviousRoot(headRoot());
        _checkMayPost();
        if (blob.length > MAX_BLOB_BYTES) revert BlobTooLong(blob.length);
        Batch memory posted = _read(blob);
        _checkOrder(id, posted.l2Time, posted.inboxTo);
        bytes32 expected = inbox.hashOf(posted.inboxTo);
        if (inboxHash != expected) revert WrongInboxHash(expected);
        _lead();
        bonds[msg.sender].batchesTo = uint64(id + 1);
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

    /// @notice Ends the rollup where nobody executes the inbox: no batch, deposit or forced transaction comes any more, and
    /// once every batch that stands is final, everyone takes out what the last state gives them. Anyone may call.
    function freeze() external {
        if (frozenAt != 0) revert AlreadyFrozen();
        (uint256 index, uint64 arrivedAt) = oldestPending();
        if (!_waitsLonger(arrivedAt, freezeDelay)) revert NotOverdue();
        frozenAt = uint64(block.timestamp);
        emit Frozen(index, arrivedAt);
    }

    // ------------------------------------------------------------------------------------------------- reading

    /// @notice The newest batch's state root, final or not; the next batch builds on it.
    function headRoot() public view returns (bytes32) {
        return count == 0 ? genesisRoot : _batches[count - 1].postRoot;
    }

    /// @notice The oldest inbox message that no standing batch executes.
    /// @return index Its place in the inbox.
    /// @return arrivedAt When it arrived, in seconds; 0 if every message is executed.
    function oldestPending() public view returns (uint256 index, uint64 arrivedAt) {
        index = _inboxTo();
        arrivedAt = inbox.arrivedAt(index);
    }

    /// @inheritdoc Sequencers
    function isOverdue() public view override returns (bool) {
        (, uint64 arrivedAt) = oldestPending();
        return _waitsLonger(arrivedAt, takeoverDelay);
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

    /// @dev How far the standing batches execute the inbox.
    function _inboxTo() internal view returns (uint64) {
        return count == 0 ? 0 : _batches[count - 1].inboxTo;
    }

    /// @dev An amount in the asset's units, rounded down.
    function _units(uint256 amountNano) internal view returns (uint256) {
        return amountNano * unitsPerNano / nanoPerUnit;
    }

    /// @inheritdoc Sequencers
    function _postedAt(uint256 id) internal view override returns (uint256) {
        return _batches[id].submittedAt;
    }

    /// @dev Whether the calldata is the selector, three words, the offset 0x80, the length, and the blob padded with zeros to
    /// whole words. A word read at the blob's end has its padding and then, beyond the calldata's end, zeros.
    function _isCanonical(bytes calldata blob) private pure returns (bool) {
        uint256 offset;
        uint256 padding;
        assembly ("memory-safe") {
            offset := blob.offset
            padding := calldataload(add(blob.offset, blob.length))
        }
        if (offset != _BLOB_OFFSET || padding != 0) return false;
        return msg.data.length == _BLOB_OFFSET + (blob.length + 31) / 32 * 32;
    }

    function _read(bytes calldata blob) private view returns (Batch memory read) {
        (read.l2Time, read.inboxTo) = Frames.header(blob);
        (read.framesRoot, read.postRoot, read.frameCount) = Frames.digest(blob);
        read.submitter = msg.sender;
        read.submittedAt = uint64(block.timestamp);
        read.blockNumber = uint64(block.number);
        read.bondEpoch = bonds[msg.sender].epoch;
    }

    function _checkOrder(uint256 id, uint64 l2Time, uint64 inboxTo) private view {
        uint64 inboxFrom = _inboxTo();
        if (id != 0 && l2Time < _batches[id - 1].l2Time) revert L2TimeBackwards(_batches[id - 1].l2Time);
        if (inboxTo < inboxFrom) revert InboxBackwards(inboxFrom);
        if (l2Time > block.timestamp + maxTimeAhead) revert L2TimeAhead(block.timestamp);
        if (block.timestamp > uint256(l2Time) + forceDelay) revert L2TimeBehind(block.timestamp);
        uint256 arrived = inbox.length();
        if (inboxTo > arrived) revert InboxBeyondEnd(arrived);
        if (inboxTo - inboxFrom < AMPLE_MESSAGES && _waitsLonger(inbox.arrivedAt(inboxTo), forceDelay)) {
            revert InboxIgnored(inboxTo);
        }
    }

    function _waitsLonger(uint64 arrivedAt, uint64 delay) private view returns (bool) {
        return arrivedAt != 0 && block.timestamp > uint256(arrivedAt) + delay;
    }
}
