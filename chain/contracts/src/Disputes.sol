// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Attestations} from "./Attestations.sol";
import {Batches} from "./Batches.sol";
import {Frames} from "./Frames.sol";
import {IStf} from "./IStf.sol";

/// @title Fraud proofs: one transaction re-executes one frame, and a wrong one takes its batch and every later one back
/// @notice A proof is committed to first and revealed some L1 blocks later, so that nobody who sees it in the mempool can
/// take its reward. Half of a slashed bond is burnt: it stays in this contract for ever, where no function pays it out. The
/// other half waits for whoever proves the earliest wrong batch that the bond answers for, so that nobody is paid for a late
/// one while an earlier theft stands.
abstract contract Disputes is Batches {
    /// @notice The frame before the disputed one, whose root the disputed one starts from; ignored for a batch's first frame,
    /// which starts from the batch before.
    /// @param postRoot The state root that was posted for it.
    /// @param bodyHash The hash of its body.
    /// @param siblings Its Merkle proof in the batch, from the leaf up.
    struct PreviousFrame {
        bytes32 postRoot;
        bytes32 bodyHash;
        bytes32[] siblings;
    }

    /// @notice The disputed frame.
    /// @param postRoot The state root that was posted for it.
    /// @param body Its body.
    /// @param siblings Its Merkle proof in the batch, from the leaf up.
    struct DisputedFrame {
        bytes32 postRoot;
        bytes body;
        bytes32[] siblings;
    }

    /// @notice The half of a slashed bond that waits for a prover; one word, since every proof pays for it.
    /// @param prover Who proved the earliest wrong batch so far.
    /// @param batchId That batch: the reward is due once every batch before it is final.
    /// @param amountGwei What waits, rounded down; 0 once it was paid. More than half of all ether fits.
    struct Reward {
        address prover;
        uint40 batchId;
        uint56 amountGwei;
    }

    /// @notice The code of a frame that executes but was posted with another root.
    uint8 public constant WRONG_ROOT = 8;

    /// @notice The block in which a prover committed to a proof; 0 if it didn't.
    mapping(address prover => mapping(bytes32 commitment => uint256 blockNumber)) public fraudCommittedAt;
    mapping(address sequencer => mapping(uint256 bondEpoch => Reward reward)) private _rewards;

    /// @notice Watchtowers that vouch for batches, with a bond that answers for it.
    Attestations public immutable attestations;
    /// @notice Who proved a batch of this hash wrong; 0 if nobody did.
    mapping(bytes32 batchHash => address prover) public provenWrong;

    /// @notice Somebody will prove a fraud.
    event FraudCommitted(address indexed prover, bytes32 indexed commitment);
    /// @notice A fraud was proven: `batchId` and every later batch are taken back.
    /// @param batchId The guilty batch.
    /// @param submitter Who posted it.
    /// @param prover Who proved it.
    /// @param frameIndex The wrong frame.
    /// @param code The rule it breaks.
    /// @param batchesBefore How many batches stood.
    event FraudProven(
        uint256 indexed batchId,
        address indexed submitter,
        address indexed prover,
        uint256 frameIndex,
        uint8 code,
        uint256 batchesBefore
    );
    /// @notice A sequencer lost its whole bond; or, where nothing is burnt, an earlier wrong batch of the same bond was proven,
    /// and the reward is another prover's.
    event BondSlashed(
        address indexed sequencer, address indexed prover, uint256 bondEpoch, uint256 toProver, uint256 burnt
    );
    /// @notice A prover was paid.
    event RewardClaimed(address indexed sequencer, uint256 indexed bondEpoch, address indexed prover, uint256 amount);

    /// @notice The sender committed to this before.
    error AlreadyCommitted(uint256 blockNumber);
    /// @notice The sender did not commit to this proof.
    error NotCommitted(bytes32 commitment);
    /// @notice The commitment is not old enough.
    error RevealTooEarly(uint256 fromBlock);
    /// @notice The commitment is no younger than the batch, as one of whoever posted it may be.
    error CommittedTooEarly(uint256 batchBlock);
    /// @notice Nothing waits for a prover there.
    error NoReward();
    /// @notice A batch before the proven one can still be proven wrong.
    error RewardNotFinal(uint256 untilFinalCount);
    /// @notice The batch is final already, or doesn't stand.
    error NotChallengeable(uint256 finalCount, uint256 count);
    /// @notice The frame, or the one before it, is not in the batch at this place.
    error WrongFrame(uint256 frameIndex);
    /// @notice The contents are not those of the inbox messages that the frame names.
    error WrongMessages();
    /// @notice The frame is right.
    error NotFraud();

    constructor() {
        attestations = new Attestations(domainSeparator, challengeWindow);
    }

    /// @notice A batch's name for whoever vouches for it: it fixes everything that its execution depends on, so that what is
    /// right stays right whatever L1's history does.
    /// @param id A batch that stands.
    function batchHash(uint256 id) public view returns (bytes32) {
        if (id >= count) revert NoSuchBatch(count);
        Batch memory named = _batches[id];
        return keccak256(
            abi.encode(
                id,
                id == 0 ? genesisRoot : _batches[id - 1].postRoot,
                inbox.hashOf(named.inboxTo),
                named.framesRoot,
                named.postRoot,
                named.frameCount,
                named.l2Time,
                named.inboxTo
            )
        );
    }

    /// @notice What waits for the prover of a slashed bond.
    /// @param sequencer Who lost the bond.
    /// @param bondEpoch Which of its bonds.
    /// @return amount In wei; 0 if nothing does.
    /// @return prover Who proved the earliest wrong batch so far.
    /// @return batchId That batch: the reward is due once every batch before it is final.
    function rewards(address sequencer, uint256 bondEpoch)
        external
        view
        returns (uint256 amount, address prover, uint256 batchId)
    {
        Reward memory reward = _rewards[sequencer][bondEpoch];
        return (_wei(reward), reward.prover, reward.batchId);
    }

    /// @notice Announces a fraud proof without showing it.
    /// @param commitment `keccak(abi.encode(sender, batchId, frameIndex, keccak(witness), salt))`.
    function commitFraud(bytes32 commitment) external {
        uint256 known = fraudCommittedAt[msg.sender][commitment];
        if (known != 0) revert AlreadyCommitted(known);
        fraudCommittedAt[msg.sender][commitment] = block.number;
        emit FraudCommitted(msg.sender, commitment);
    }

    /// @notice Proves that a frame is wrong. The batch and every later one are taken back, its submitter's bond is halved:
    /// one half never leaves the contract, the other is kept for the sender (see `claimReward`).
    /// @param batchId A batch that stands and is not final.
    /// @param frameIndex The wrong frame's place in it.
    /// @param previous The frame before it.
    /// @param frame The wrong frame.
    /// @param messages The contents of the inbox messages that the frame names, see `IStf`.
    /// @param witness The part of the state that the frame touches, see `IStf`.
    /// @param salt What the commitment was salted with.
    function proveFraud(
        uint256 batchId,
        uint256 frameIndex,
        PreviousFrame calldata previous,
        DisputedFrame calldata frame,
        bytes calldata messages,
        bytes calldata witness,
        bytes32 salt
    ) external {
        uint256 committed = _checkReveal(keccak256(abi.encode(msg.sender, batchId, frameIndex, keccak256(witness), salt)));
        if (batchId < finalCount || batchId >= count) revert NotChallengeable(finalCount, count);
        if (committed <= _batches[batchId].blockNumber) revert CommittedTooEarly(_batches[batchId].blockNumber);
        bytes32 prevRoot = _checkFrames(batchId, frameIndex, previous, frame);
        _checkMessages(frame.body, _batches[batchId].inboxTo, messages);
        (uint8 code, bytes32 root) =
            stf.execute(_context(batchId, frameIndex), prevRoot, frame.body, messages, witness);
        if (code == 0) {
            if (root == frame.postRoot) revert NotFraud();
            code = WRONG_ROOT;
        }
        _takeBack(batchId, frameIndex, code);
    }

    /// @notice Pays what waits for a prover, once nobody can prove an earlier wrong batch of the same bond; anyone may call.
    /// @param sequencer Who lost the bond.
    /// @param bondEpoch Which of its bonds.
    function claimReward(address sequencer, uint256 bondEpoch) external {
        Reward memory reward = _rewards[sequencer][bondEpoch];
        uint256 amount = _wei(reward);
        if (amount == 0) revert NoReward();
        if (finalCount < reward.batchId) revert RewardNotFinal(reward.batchId);
        _rewards[sequencer][bondEpoch].amountGwei = 0;
        emit RewardClaimed(sequencer, bondEpoch, reward.prover, amount);
        _payEther(reward.prover, amount);
    }

    function _checkReveal(bytes32 commitment) private view returns (uint256 committed) {
        committed = fraudCommittedAt[msg.sender][commitment];
        if (committed == 0) revert NotCommitted(commitment);
        if (block.number < committed + revealDelay) revert RevealTooEarly(committed + revealDelay);
    }

    function _checkFrames(
        uint256 batchId,
        uint256 frameIndex,
        PreviousFrame calldata previous,
        DisputedFrame calldata frame
    ) private view returns (bytes32 prevRoot) {
        bytes32 framesRoot = _batches[batchId].framesRoot;
        uint256 frameCount = _batches[batchId].frameCount;
        bytes32 leaf = keccak256(abi.encode(frame.postRoot, keccak256(frame.body)));
        if (!Frames.contains(framesRoot, frameCount, frameIndex, leaf, frame.siblings)) revert WrongFrame(frameIndex);
        if (frameIndex == 0) return batchId == 0 ? genesisRoot : _batches[batchId - 1].postRoot;
        leaf = keccak256(abi.encode(previous.postRoot, previous.bodyHash));
        if (!Frames.contains(framesRoot, frameCount, frameIndex - 1, leaf, previous.siblings)) {
            revert WrongFrame(frameIndex - 1);
        }
        return previous.postRoot;
    }

    /// @dev Exactly for the frames whose messages `stf` looks at; whatever else a sequencer posted passes.
    function _checkMessages(bytes calldata body, uint256 inboxTo, bytes calldata messages) private view {
        if (body.length != 10 || body[0] != 0) return;
        uint256 from = uint64(bytes8(body[1:9]));
        uint256 size = uint8(body[9]);
        if (size == 0 || size > 8 || from + size > inboxTo) return;
        if (!inbox.holds(from, size, messages)) revert WrongMessages();
    }

    function _context(uint256 batchId, uint256 frameIndex) private view returns (IStf.Context memory) {
        Batch storage disputed = _batches[batchId];
        return IStf.Context({
            domainSeparator: domainSeparator,
            closeDelay: closeDelay,
            unstakeDelay: unstakeDelay,
            l2Time: disputed.l2Time,
            inboxTo: disputed.inboxTo,
            isLast: frameIndex + 1 == disputed.frameCount
        });
    }

    function _takeBack(uint256 batchId, uint256 frameIndex, uint8 code) private {
        bytes32 hash = batchHash(batchId);
        // Who was first stays: the same wrong batch, posted again and proven by its maker, must not take the place.
        if (provenWrong[hash] == address(0)) provenWrong[hash] = msg.sender;
        address guilty = _batches[batchId].submitter;
        uint256 epoch = _batches[batchId].bondEpoch;
        Bond storage bond = bonds[guilty];
        Reward memory reward = _rewards[guilty][epoch];
        uint256 burnt;
        // Whatever is proven later of the same bond is earlier: the batches behind the first proof are gone.
        if (bond.epoch == epoch) {
            burnt = bond.amount;
            reward.amountGwei = uint56(burnt / 2 gwei);
            burnt -= _wei(reward);
            ++bond.epoch;
            _unlist(bond);
        }
        reward.prover = msg.sender;
        reward.batchId = uint40(batchId);
        _rewards[guilty][epoch] = reward;
        emit FraudProven(batchId, guilty, msg.sender, frameIndex, code, count);
        emit BondSlashed(guilty, msg.sender, epoch, _wei(reward), burnt);
        count = batchId;
        _endTurn();
    }

    function _wei(Reward memory reward) private pure returns (uint256) {
        return uint256(reward.amountGwei) * 1 gwei;
    }
}
