// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "../src/Asset.sol";
import {Disputes} from "../src/Disputes.sol";
import {Inbox} from "../src/Inbox.sol";
import {IStf} from "../src/IStf.sol";
import {Parameters} from "../src/Parameters.sol";
import {Rollup} from "../src/Rollup.sol";
import {Stf} from "../src/Stf.sol";
import {TestUSD} from "../src/TestUSD.sol";
import {Cheats} from "./Cheats.sol";
import {PlainTree} from "./PlainTree.sol";

/// @title Everything that anybody may do to a rollup, in any order, and what it must add up to
/// @notice Every batch that it posts is wrong on purpose and can be proven wrong: a state of the meta leaf alone, whose
/// witness is at hand, and a frame of an unknown transaction.
contract Handler is Cheats {
    uint64 public constant WINDOW = 600;
    uint64 public constant REVEAL_BLOCKS = 3;
    uint256 public constant PEOPLE = 3;
    uint256 private constant META_PLACE = 3 << 30;

    TestUSD public immutable usd;
    Rollup public immutable rollup;
    Inbox public immutable inbox;

    /// @notice What was paid in and out, in wei and in nano.
    uint256 public bondedWei;
    uint256 public returnedWei;
    /// @notice What is burnt by staying in the rollup, in wei.
    uint256 public burntWei;
    uint256 public depositedNano;
    uint256 public refundedNano;
    /// @notice The running hash over every message, by the book.
    bytes32[] public inboxHashes;
    /// @notice The greatest count of final batches so far, and the root that the newest of them had then.
    uint256 public finalCount;
    bytes32 public finalRoot;
    /// @notice How many batches stood when the rollup froze.
    uint256 public frozenCount;
    /// @notice How often each of the things worth reaching was reached.
    mapping(bytes32 what => uint256 times) public reached;

    /// @dev The meta leaf whose tree a batch's root stands for, by root.
    mapping(bytes32 root => bytes meta) private _metas;
    bytes[] private _deposits;

    constructor() {
        bytes memory meta = _meta(0, 0);
        bytes32 genesis = _remember(meta);
        usd = new TestUSD();
        rollup = new Rollup(
            Parameters({
                asset: IERC20(address(usd)),
                stf: IStf(new Stf()),
                genesisRoot: genesis,
                challengeWindow: WINDOW,
                forceDelay: 60,
                takeoverDelay: 120,
                freezeDelay: 1000,
                closeDelay: 300,
                unstakeDelay: 700,
                revealDelay: REVEAL_BLOCKS,
                l2ChainId: 31_338,
                maxTimeAhead: 60,
                minBond: 1 ether,
                turnBatches: 4,
                turnSeconds: 900,
                turnGrace: 60
            })
        );
        inbox = rollup.inbox();
        inboxHashes.push(0);
    }

    // ------------------------------------------------------------------------------------------- what anybody may do

    function deposit(uint256 seed, uint64 amountNano) external {
        address owner = _person(seed);
        amountNano = amountNano % 1e12 + 1;
        usd.mint(address(this), uint256(amountNano) * rollup.unitsPerNano());
        usd.approve(address(inbox), type(uint256).max);
        inbox.deposit(owner, uint32(seed), amountNano);
        depositedNano += amountNano;
        _deposits.push(abi.encode(inbox.length() - 1, owner, uint32(seed), amountNano));
        _append(keccak256(abi.encodePacked(uint8(1), owner, uint32(seed), amountNano)));
    }

    function force(bytes calldata body) external {
        bytes calldata cut = body.length > 64 ? body[:64] : body;
        inbox.forceTx(cut);
        _append(keccak256(abi.encodePacked(uint8(2), cut)));
    }

    function bond(uint256 seed, uint256 amountWei) external {
        address sequencer = _person(seed);
        amountWei = 0.5 ether + amountWei % 3 ether;
        VM.deal(sequencer, sequencer.balance + amountWei);
        VM.prank(sequencer);
        rollup.depositBond{value: amountWei}();
        bondedWei += amountWei;
    }

    function unbond(uint256 seed) external {
        address sequencer = _person(seed);
        uint256 before = sequencer.balance;
        VM.prank(sequencer);
        rollup.withdrawBond();
        returnedWei += sequencer.balance - before;
        reached["unbond"]++;
    }

    function post(uint256 seed, uint8 messages) external {
        uint256 waiting = inbox.length() - _inboxFrom();
        uint256 inboxTo = _inboxFrom() + (messages % 2 == 0 ? waiting : messages % (waiting + 1));
        _post(_poster(seed), inboxTo, inboxHashes[inboxTo]);
        reached["post"]++;
    }

    function postOnAnotherInbox(uint256 seed, bytes32 hash) external {
        uint256 inboxTo = inbox.length();
        if (hash == inboxHashes[inboxTo]) return;
        (bool taken,) = address(this).call(abi.encodeCall(this.postAs, (_poster(seed), inboxTo, hash)));
        require(!taken, "a batch on another inbox was taken");
    }

    /// @dev External, so that a refusal can be looked at.
    function postAs(address sequencer, uint256 inboxTo, bytes32 hash) external {
        require(msg.sender == address(this), "not from outside");
        _post(sequencer, inboxTo, hash);
    }

    function postRaw(uint256 seed, bytes calldata data) external {
        VM.prank(_person(seed), _person(seed));
        (bool taken,) = address(rollup).call(abi.encodePacked(rollup.submitBatch.selector, data));
        require(!taken, "calldata of no shape was taken");
    }

    function prove(uint256 seed, uint8 blocks) external {
        uint256 from = rollup.finalCount();
        uint256 id = from + seed % (rollup.count() - from);
        bytes memory witness = _witnessOf(id == 0 ? rollup.genesisRoot() : rollup.batch(id - 1).postRoot);
        // A commitment may be too young, or its batch younger than itself.
        VM.roll(block.number + blocks % 2);
        rollup.commitFraud(keccak256(abi.encode(address(this), id, uint256(0), keccak256(witness), bytes32(seed))));
        VM.roll(block.number + blocks % 8);
        Disputes.PreviousFrame memory none;
        Disputes.DisputedFrame memory frame =
            Disputes.DisputedFrame(rollup.batch(id).postRoot, hex"ff", new bytes32[](0));
        address guilty = rollup.batch(id).submitter;
        (uint128 bonded,, uint32 epoch,) = rollup.bonds(guilty);
        rollup.proveFraud(id, 0, none, frame, "", witness, bytes32(seed));
        _countBurnt(guilty, bonded, epoch);
        require(rollup.count() == id, "a proven batch stands");
        reached["prove"]++;
    }

    function claim(uint256 seed, uint256 epoch) external {
        uint256 before = address(this).balance;
        rollup.claimReward(_person(seed), epoch % 2);
        returnedWei += address(this).balance - before;
        reached["claim"]++;
    }

    function finalize(uint256 seed) external {
        uint256 from = rollup.finalCount();
        rollup.finalize(from + 1 + seed % (rollup.count() - from));
        finalCount = rollup.finalCount();
        finalRoot = rollup.batch(finalCount - 1).postRoot;
        reached["finalize"]++;
    }

    function freeze(uint16 time) external {
        // Rarely, since little happens after it.
        if (time % 8 != 0) return;
        VM.warp(block.timestamp + time % 2_000);
        rollup.freeze();
        frozenCount = rollup.count();
        reached["freeze"]++;
    }

    function refund(uint256 seed) external {
        (uint256 index, address owner, uint32 hint, uint64 amountNano) =
            abi.decode(_deposits[seed % _deposits.length], (uint256, address, uint32, uint64));
        rollup.refundDeposit(uint64(index), owner, hint, amountNano);
        refundedNano += amountNano;
        reached["refund"]++;
    }

    function wait(uint16 time, uint8 blocks) external {
        VM.warp(block.timestamp + time % 700);
        VM.roll(block.number + blocks % 6);
    }

    receive() external payable {}

    // -------------------------------------------------------------------------------------------------- what it adds up to

    /// @notice All bonds and rewards that the rollup still owes, in wei.
    function owedWei() external view returns (uint256 sum) {
        for (uint256 i = 0; i < PEOPLE; ++i) {
            (uint128 amount,, uint32 epoch,) = rollup.bonds(_person(i));
            sum += amount;
            for (uint256 past = 0; past < epoch; ++past) {
                (uint256 reward,,) = rollup.rewards(_person(i), past);
                sum += reward;
            }
        }
    }

    /// @dev By the book: half of a bond, and what is less than a gwei of the other.
    function _countBurnt(address guilty, uint256 bonded, uint32 epoch) private {
        (uint128 left,, uint32 epochNow,) = rollup.bonds(guilty);
        if (epochNow == epoch) return;
        require(left == 0 && epochNow == epoch + 1, "a slashed bond is left");
        burntWei += bonded - bonded / 2 / 1 gwei * 1 gwei;
    }

    function _person(uint256 seed) private pure returns (address) {
        return VM.addr(seed % PEOPLE + 1);
    }

    /// @dev Somebody whose batch would be taken, if anybody's would.
    function _poster(uint256 seed) private view returns (address) {
        for (uint256 i = 0; i < 2; ++i) {
            if (rollup.mayPost(_person(seed + i))) return _person(seed + i);
        }
        return _person(seed + 2);
    }

    function _post(address sequencer, uint256 inboxTo, bytes32 hash) private {
        uint64 l2Time = uint64(block.timestamp);
        bytes32 root = _remember(_meta(l2Time, uint64(inboxTo)));
        bytes memory blob = abi.encodePacked(uint8(1), l2Time, uint64(inboxTo), uint16(1), root, bytes1(0xff));
        uint256 standing = rollup.count();
        bytes32 head = rollup.headRoot();
        VM.prank(sequencer, sequencer);
        rollup.submitBatch(standing, head, hash, blob);
        require(rollup.frozenAt() == 0, "a frozen rollup took a batch");
    }

    function _inboxFrom() private view returns (uint64) {
        uint256 standing = rollup.count();
        return standing == 0 ? 0 : rollup.batch(standing - 1).inboxTo;
    }

    function _append(bytes32 content) private {
        inboxHashes.push(keccak256(abi.encodePacked(inboxHashes[inboxHashes.length - 1], content)));
    }

    /// @dev `04 nextAccount4 nextChannel4 nextWithdrawal4 inboxCursor8 l2Time8 feePool16 supply16`
    function _meta(uint64 l2Time, uint64 cursor) private pure returns (bytes memory) {
        return abi.encodePacked(uint8(4), uint32(1), uint32(1), uint32(1), cursor, l2Time, uint128(0), uint128(0));
    }

    function _remember(bytes memory meta) private returns (bytes32 root) {
        root = keccak256(meta);
        for (uint256 level = 0; level < 32; ++level) {
            root = (META_PLACE >> level) & 1 == 0 ? PlainTree.parent(root, 0) : PlainTree.parent(0, root);
        }
        _metas[root] = meta;
    }

    function _witnessOf(bytes32 root) private view returns (bytes memory) {
        bytes memory meta = _metas[root];
        return bytes.concat(hex"0001", bytes4(uint32(META_PLACE)), bytes1(uint8(meta.length)), meta, hex"002000000000");
    }
}
