// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title What the contract `Rollup` offers; written from it by `chain.contracts.build`.
interface IRollup {
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

    struct ChannelLeaf {
        uint32 payer;
        uint32 payee;
        address signer;
        uint128 deposit;
        uint128 redeemed;
        uint64 expiry;
        uint64 closingAt;
    }

    struct ChannelProof {
        ChannelLeaf channel;
        bytes32[32] siblings;
        AccountLeaf payer;
        bytes32[32] payerSiblings;
        AccountLeaf payee;
        bytes32[32] payeeSiblings;
    }

    struct DisputedFrame {
        bytes32 postRoot;
        bytes body;
        bytes32[] siblings;
    }

    struct PreviousFrame {
        bytes32 postRoot;
        bytes32 bodyHash;
        bytes32[] siblings;
    }

    struct Terms {
        uint64 maxFee;
        uint64 start;
        uint64 deadline;
    }

    struct WithdrawalLeaf {
        address recipient;
        uint64 amount;
        uint32 account;
        uint64 nonce;
    }

    /// @notice After a freeze, an account was paid out.
    event AccountExited(uint32 indexed account, address indexed owner, uint256 amountNano);

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

    /// @notice A sequencer added to its bond.
    event BondDeposited(address indexed sequencer, uint256 amount, uint256 total);

    /// @notice A sequencer lost its whole bond; or, where nothing is burnt, an earlier wrong batch of the same bond
    /// was proven, and the reward is another prover's.
    event BondSlashed(
        address indexed sequencer,
        address indexed prover,
        uint256 bondEpoch,
        uint256 toProver,
        uint256 burnt
    );

    /// @notice A sequencer took its bond back.
    event BondWithdrawn(address indexed sequencer, uint256 amount);

    /// @notice After a freeze, a channel's rest was paid to one of its parties.
    event ChannelExitPaid(uint32 indexed channel, address indexed recipient, uint128 amountNano);

    /// @notice After a freeze, a channel is on its way out, or a higher voucher changed whom it pays.
    event ChannelExitRaised(uint32 indexed channel, uint128 toPayer, uint128 toPayee, uint64 settleAt);

    /// @notice After a freeze, a deposit that no batch executed was paid back.
    event DepositRefunded(uint256 indexed index, address indexed owner, uint64 amountNano);

    /// @notice Every batch below `count` is final now.
    event Finalized(uint256 count, bytes32 root);

    /// @notice Somebody will prove a fraud.
    event FraudCommitted(address indexed prover, bytes32 indexed commitment);

    /// @notice A fraud was proven: `batchId` and every later batch are taken back.
    event FraudProven(
        uint256 indexed batchId,
        address indexed submitter,
        address indexed prover,
        uint256 frameIndex,
        uint8 code,
        uint256 batchesBefore
    );

    /// @notice The rollup froze, since nobody executed this inbox message.
    event Frozen(uint256 indexed messageIndex, uint64 messageArrivedAt);

    /// @notice Another sequencer leads; nobody does if it is 0.
    event LeaderChanged(address indexed leader);

    /// @notice A prover was paid.
    event RewardClaimed(address indexed sequencer, uint256 indexed bondEpoch, address indexed prover, uint256 amount);

    /// @notice A withdrawal was paid, to its recipient or to who bought the claim.
    event WithdrawalClaimed(uint32 indexed index, address indexed recipient, uint64 amountNano, uint256 batchId);

    /// @notice A withdrawal's claim was sold.
    event WithdrawalSold(
        address indexed buyer,
        bytes32 indexed key,
        address indexed recipient,
        uint64 amountNano,
        uint64 feeNano
    );

    /// @notice The leaf was paid out before.
    error AlreadyClaimed(uint32 index);

    /// @notice The sender committed to this before.
    error AlreadyCommitted(uint256 blockNumber);

    /// @notice The rollup froze: it takes no batch any more.
    error AlreadyFrozen();

    /// @notice Somebody took this claim over before.
    error AlreadySold(address claimant);

    /// @notice The asset refused a transfer, or moved another amount than it was told to.
    error AssetTransferFailed();

    /// @notice The blob is longer than `MAX_BLOB_BYTES`.
    error BlobTooLong(uint256 length);

    /// @notice The sender's newest batch is not final.
    error BondLocked(uint256 untilFinalCount);

    /// @notice The sender joined the list, or began a turn, too short a time ago.
    error BondStays(uint256 until);

    /// @notice The sender's bond is below `minBond`.
    error BondTooSmall(uint256 bonded);

    /// @notice The channel's time had run out by the last state: its rest is the payer's.
    error ChannelOver();

    /// @notice The commitment is no younger than the batch, as one of whoever posted it may be.
    error CommittedTooEarly(uint256 batchBlock);

    /// @notice The receiver refused its ether.
    error EtherRefused();

    /// @notice Exits open when the rollup is frozen and every batch that stands is final.
    error ExitsClosed();

    /// @notice The body of the frame at this place is longer than `MAX_BODY_BYTES`.
    error FrameTooLong(uint256 index);

    /// @notice The batch executes less of the inbox than the one before it.
    error InboxBackwards(uint64 previous);

    /// @notice The batch claims more inbox messages than have arrived.
    error InboxBeyondEnd(uint256 length);

    /// @notice The batch leaves out this inbox message, which has waited longer than `forceDelay`.
    error InboxIgnored(uint64 index);

    /// @notice The parameters break this rule of `ParameterRules`.
    error InvalidParameters(uint256 rule);

    /// @notice L2 time runs more than `maxTimeAhead` before this block's.
    error L2TimeAhead(uint256 blockTime);

    /// @notice L2 time lies before the previous batch's.
    error L2TimeBackwards(uint64 previous);

    /// @notice L2 time lags this block's by more than `forceDelay`: expiries and unlock times would never come.
    error L2TimeBehind(uint256 blockTime);

    /// @notice The sender has no bond.
    error NoBond();

    /// @notice Nobody began this channel's exit, or it is over.
    error NoChannelExit();

    /// @notice A batch without a frame changes nothing.
    error NoFrames();

    /// @notice Nothing waits for a prover there.
    error NoReward();

    /// @notice No batch has this id.
    error NoSuchBatch(uint256 count);

    /// @notice The number is beyond its region of the state.
    error NoSuchNumber(uint32 number);

    /// @notice The state index belongs to no withdrawal.
    error NotAWithdrawal(uint32 index);

    /// @notice The calldata is not the one canonical encoding of this call. Solidity itself takes any offset, padding
    /// and trailing bytes; everyone reads batches back from calldata, so there is one way to write them.
    error NotCanonical();

    /// @notice The batch is final already, or doesn't stand.
    error NotChallengeable(uint256 finalCount, uint256 count);

    /// @notice The sender did not commit to this proof.
    error NotCommitted(bytes32 commitment);

    /// @notice The batch is not final.
    error NotFinal(uint256 finalCount);

    /// @notice The frame is right.
    error NotFraud();

    /// @notice It is another sequencer's turn: the leader's, or, when its turn ended, the next one's.
    error NotLeader(address leader);

    /// @notice No inbox message has waited longer than `freezeDelay`.
    error NotOverdue();

    /// @notice The message is no deposit of this content, or the last state has it.
    error NotRefundable(uint256 index);

    /// @notice Batch data must be the calldata of a transaction signed by its sender, so that everyone can read it
    /// there.
    error NotSentDirectly();

    /// @notice Nothing new would become final, or batches would that don't exist.
    error NothingToFinalize(uint256 finalCount, uint256 count);

    /// @notice The offer ended.
    error OrderOver(uint64 deadline);

    /// @notice The commitment is not old enough.
    error RevealTooEarly(uint256 fromBlock);

    /// @notice A batch before the proven one can still be proven wrong.
    error RewardNotFinal(uint256 untilFinalCount);

    /// @notice The blob ends inside its header or inside a frame.
    error Truncated(uint256 offset);

    /// @notice The blob's first byte names a version that this contract doesn't know.
    error UnknownVersion(uint8 version);

    /// @notice The asset has too few decimals to settle in, or so many that amounts overflow.
    error UnsupportedDecimals(uint8 decimals);

    /// @notice The voucher promises no more than is known, or more than the channel holds.
    error VoucherOutOfRange();

    /// @notice Higher vouchers are taken until then, and both are paid from then on.
    error VoucherWindow(uint256 until);

    /// @notice The newest of these batches can still be challenged.
    error WindowOpen(uint256 until);

    /// @notice Another batch took this id, or it lies ahead.
    error WrongBatchId(uint256 expected);

    /// @notice The frame, or the one before it, is not in the batch at this place.
    error WrongFrame(uint256 frameIndex);

    /// @notice The inbox holds other messages than the batch was built on, as after an L1 reorg.
    error WrongInboxHash(bytes32 expected);

    /// @notice The contents are not those of the inbox messages that the frame names.
    error WrongMessages();

    /// @notice The recipient didn't sign these terms for this withdrawal.
    error WrongOrder();

    /// @notice The batch builds on another state than the newest one.
    error WrongPreviousRoot(bytes32 expected);

    /// @notice The proof leads to another root than the batch's.
    error WrongProof(bytes32 computed);

    /// @notice The fee would exceed the amount, or would never rise.
    error WrongTerms();

    /// @notice The voucher was not signed by the channel's voucher key.
    error WrongVoucher();

    /// @notice The tag that starts an account's leaf.
    function ACCOUNT_TAG() external view returns (uint8);

    /// @notice A batch that executes this many inbox messages need not reach those that wait too long behind them:
    /// else more messages than fit into one batch would stop the rollup.
    function AMPLE_MESSAGES() external view returns (uint256);

    /// @notice First state index of the channels, whose top two bits are `01`.
    function CHANNELS_FROM() external view returns (uint32);

    /// @notice The tag that starts a channel's leaf.
    function CHANNEL_TAG() external view returns (uint8);

    /// @notice The longest blob that is taken, so that one transaction can always carry and frame it.
    function MAX_BLOB_BYTES() external view returns (uint256);

    /// @notice Depth of the L2 state tree.
    function STATE_DEPTH() external view returns (uint256);

    /// @notice First state index of the withdrawals, whose top two bits are `10`.
    function WITHDRAWALS_FROM() external view returns (uint32);

    /// @notice First state index beyond the withdrawals.
    function WITHDRAWALS_TO() external view returns (uint32);

    /// @notice The tag that starts a withdrawal's leaf.
    function WITHDRAWAL_TAG() external view returns (uint8);

    /// @notice The code of a frame that executes but was posted with another root.
    function WRONG_ROOT() external view returns (uint8);

    /// @notice The settlement asset.
    function asset() external view returns (address);

    /// @notice Watchtowers that vouch for batches, with a bond that answers for it.
    function attestations() external view returns (address);

    /// @notice One batch that stands.
    function batch(uint256 id) external view returns (Batch memory);

    /// @notice A batch's name for whoever vouches for it: it fixes everything that its execution depends on, so that
    /// what is right stays right whatever L1's history does.
    function batchHash(uint256 id) external view returns (bytes32);

    /// @notice Up to `limit` batches from `start` on; fewer at the end, none beyond it.
    function batches(uint256 start, uint256 limit) external view returns (Batch[] memory page);

    /// @notice Until when each bond stays whatever its owner posted, in seconds. Who leaves and comes back joins at
    /// the end of the list; without this, two seats that leave and come back by turns would keep everyone else from
    /// ever being next.
    function bondStaysUntil(address sequencer) external view returns (uint256 time);

    /// @notice What each sequencer put up.
    function bonds(
        address sequencer
    ) external view returns (uint128 amount, uint64 batchesTo, uint32 epoch, uint32 place);

    /// @notice Pays a withdrawal out to its recipient, less the fee as it stands now, and takes its claim over.
    function buyWithdrawal(
        uint256 batchId,
        uint32 index,
        WithdrawalLeaf calldata leaf,
        bytes32[32] calldata siblings,
        Terms calldata terms,
        bytes calldata signature
    ) external;

    /// @notice How long a batch can be challenged, in seconds.
    function challengeWindow() external view returns (uint64);

    /// @notice The channels on their way out, by number.
    function channelExits(
        uint32 channel
    ) external view returns (address payer, uint64 settleAt, address payee, address signer, uint128 redeemed, uint128 toPayer, uint128 toPayee);

    /// @notice Pays what waits for a prover, once nobody can prove an earlier wrong batch of the same bond; anyone
    /// may call.
    function claimReward(address sequencer, uint256 bondEpoch) external;

    /// @notice Pays a withdrawal to its recipient, or who bought the claim, once; anyone may call. Every payout is
    /// rounded down to the asset's units.
    function claimWithdrawal(
        uint256 batchId,
        uint32 index,
        WithdrawalLeaf calldata leaf,
        bytes32[32] calldata siblings
    ) external;

    /// @notice Who bought a withdrawal's claim (see `FastWithdrawals`), by the hash of its leaf; 0 while it is its
    /// recipient's.
    function claimants(bytes32 key) external view returns (address claimant);

    /// @notice Whether the leaf at a state index was paid out: a withdrawal, or after a freeze an account or a
    /// channel.
    function claimed(uint32 index) external view returns (bool paid);

    /// @notice How long a payer who closes a channel alone must wait, in L2 seconds.
    function closeDelay() external view returns (uint64);

    /// @notice Announces a fraud proof without showing it.
    function commitFraud(bytes32 commitment) external;

    /// @notice How many batches stand; the next one's id.
    function count() external view returns (uint256);

    /// @notice The block that it was deployed in: no event of it is older.
    function deployedAt() external view returns (uint64);

    /// @notice The hash of the block before the deploying one: a fork of this L1 with the same chain id, or the same
    /// address on a chain that was reset, has another one, and so another domain.
    function deploymentSalt() external view returns (bytes32);

    /// @notice Adds to the sender's bond; from `minBond` on the sender has turns.
    function depositBond() external payable;

    /// @notice The EIP-712 domain of everything signed for this deployment.
    function domainSeparator() external view returns (bytes32);

    /// @notice After a freeze, pays an account's balance, stake and stake on its way out to its owner, once; anyone
    /// may call.
    function exitAccount(uint32 account, AccountLeaf calldata leaf, bytes32[32] calldata siblings) external;

    /// @notice After a freeze, begins a channel's exit, with the highest voucher that the sender knows; anyone may
    /// call.
    function exitChannel(
        uint32 channel,
        ChannelProof calldata proof,
        uint64 cumulative,
        bytes calldata signature
    ) external;

    /// @notice What a buyer may keep of a withdrawal now.
    function feeOf(uint64 amountNano, Terms calldata terms) external view returns (uint64);

    /// @notice How many of them are final.
    function finalCount() external view returns (uint256);

    /// @notice How many batches `finalize` would make final in this block: its argument, if greater than
    /// `finalCount`.
    function finalizable(uint256 limit) external view returns (uint256 upTo);

    /// @notice Makes every batch below `upTo` final, where the newest of them is past its window; anyone may call.
    function finalize(uint256 upTo) external;

    /// @notice How long a batch may leave an inbox message waiting, and L2 time may lag, in seconds.
    function forceDelay() external view returns (uint64);

    /// @notice The block in which a prover committed to a proof; 0 if it didn't.
    function fraudCommittedAt(address prover, bytes32 commitment) external view returns (uint256 blockNumber);

    /// @notice Ends the rollup where nobody executes the inbox: no batch, deposit or forced transaction comes any
    /// more, and once every batch that stands is final, everyone takes out what the last state gives them. Anyone may
    /// call.
    function freeze() external;

    /// @notice How long a message waits before anyone may freeze the rollup, in seconds.
    function freezeDelay() external view returns (uint64);

    /// @notice When the rollup froze, in seconds; 0 while it runs.
    function frozenAt() external view returns (uint64);

    /// @notice The state root before the first batch.
    function genesisRoot() external view returns (bytes32);

    /// @notice The newest batch's state root, final or not; the next batch builds on it.
    function headRoot() external view returns (bytes32);

    /// @notice Where deposits and forced transactions arrive.
    function inbox() external view returns (address);

    /// @notice Whether anyone with a bond may post now, because the inbox is left waiting.
    function isOverdue() external view returns (bool);

    /// @notice The L2's chain id, for wallets that tell networks apart by it.
    function l2ChainId() external view returns (uint64);

    /// @notice Whose turn it is, or was last; 0 before the first one and after a fraud.
    function leader() external view returns (address);

    /// @notice How far a batch's L2 time may run ahead of the L1 block's, in seconds.
    function maxTimeAhead() external view returns (uint64);

    /// @notice Whether a batch of this sequencer would be taken in this block, as far as it depends on whose it is.
    function mayPost(address sequencer) external view returns (bool);

    /// @notice The least bond of a sequencer, in wei.
    function minBond() external view returns (uint128);

    /// @notice Nano in the asset's smallest unit; 1 where a nano has several.
    function nanoPerUnit() external view returns (uint256);

    /// @notice Who is next when the leader's turn ends; the leader itself where it is alone, 0 where nobody leads.
    function nextLeader() external view returns (address);

    /// @notice The oldest inbox message that no standing batch executes.
    function oldestPending() external view returns (uint256 index, uint64 arrivedAt);

    /// @notice Proves that a frame is wrong. The batch and every later one are taken back, its submitter's bond is
    /// halved: one half never leaves the contract, the other is kept for the sender (see `claimReward`).
    function proveFraud(
        uint256 batchId,
        uint256 frameIndex,
        PreviousFrame calldata previous,
        DisputedFrame calldata frame,
        bytes calldata messages,
        bytes calldata witness,
        bytes32 salt
    ) external;

    /// @notice Who proved a batch of this hash wrong; 0 if nobody did.
    function provenWrong(bytes32 batchHash) external view returns (address prover);

    /// @notice Takes a higher voucher into a channel's exit, within one challenge window of its beginning; anyone may
    /// call.
    function raiseChannelExit(uint32 channel, uint64 cumulative, bytes calldata signature) external;

    /// @notice After a freeze, pays a deposit that the last state doesn't have back to its owner, once; anyone may
    /// call.
    function refundDeposit(uint64 index, address owner, uint32 indexHint, uint64 amountNano) external;

    /// @notice Whether the deposit in an inbox message was paid back.
    function refunded(uint256 index) external view returns (bool paid);

    /// @notice How many L1 blocks lie between a fraud proof's commitment and its reveal, at least.
    function revealDelay() external view returns (uint64);

    /// @notice What waits for the prover of a slashed bond.
    function rewards(
        address sequencer,
        uint256 bondEpoch
    ) external view returns (uint256 amount, address prover, uint256 batchId);

    /// @notice How many sequencers have a bond that is large enough.
    function sequencerCount() external view returns (uint256);

    /// @notice Everyone whose bond is large enough; turns go round.
    function sequencers(uint256) external view returns (address);

    /// @notice Pays a channel's rest to both parties, once its window for vouchers is over; anyone may call.
    function settleChannelExit(uint32 channel) external;

    /// @notice The state transition that disputes are decided by.
    function stf() external view returns (address);

    /// @notice Posts the next batch.
    function submitBatch(uint256 id, bytes32 prevRoot, bytes32 inboxHash, bytes calldata blob) external;

    /// @notice Begins the sender's turn without a batch, where it may post: from then on it is known to lead. A turn
    /// that hasn't ended just goes on.
    function takeTurn() external;

    /// @notice How long a message waits before anyone with a bond may sequence, in seconds.
    function takeoverDelay() external view returns (uint64);

    /// @notice After how many batches a leader's turn ends.
    function turnBatches() external view returns (uint64);

    /// @notice When the leader's turn ends or ended, in seconds; means nothing where nobody leads.
    function turnEndsAt() external view returns (uint256 endsAt);

    /// @notice The id of its first batch.
    function turnFirstBatch() external view returns (uint256);

    /// @notice How long the next in turn alone may begin its own, in seconds.
    function turnGrace() external view returns (uint64);

    /// @notice After how many seconds it ends.
    function turnSeconds() external view returns (uint64);

    /// @notice When that turn began, in seconds.
    function turnStartedAt() external view returns (uint64);

    /// @notice The asset's smallest units in one nano; 1 where a unit is worth several.
    function unitsPerNano() external view returns (uint256);

    /// @notice How long a stake on its way out stays slashable, in L2 seconds.
    function unstakeDelay() external view returns (uint64);

    /// @notice The version of what the contract does (https://semver.org): the first number changes with whatever its
    /// callers or its users' signatures must know, the second with what is new, the third with nothing that they see.
    function version() external view returns (string memory);

    /// @notice Returns the sender's whole bond, once its newest batch is final or taken back, and a challenge window
    /// after it joined the list and its last turn began.
    function withdrawBond() external;
}
