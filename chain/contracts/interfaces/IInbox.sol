// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title What the contract `Inbox` offers; written from it by `chain.contracts.build`.
interface IInbox {
    struct Message {
        bytes32 hash;
        uint64 timestamp;
        uint64 blockNumber;
        uint8 kind;
    }

    /// @notice Money arrived for an L2 account.
    event Deposited(
        uint64 indexed index,
        address indexed owner,
        address indexed sender,
        uint32 indexHint,
        uint64 amountNano,
        uint64 timestamp
    );

    /// @notice An L2 transaction must be executed.
    event Forced(uint64 indexed index, address indexed sender, bytes body, uint64 timestamp);

    /// @notice The asset refused a transfer, or moved another amount than it was told to.
    error AssetTransferFailed();

    /// @notice So many messages haven't arrived yet.
    error NoSuchMessages(uint256 length);

    /// @notice The amount is no multiple of the asset's smallest unit.
    error NotWholeUnits(uint256 nanoPerUnit);

    /// @notice The rollup froze, and executes nothing any more.
    error RollupFrozen();

    /// @notice A forced transaction has 1 to `MAX_FORCED_BYTES` bytes.
    error WrongBodyLength(uint256 length);

    /// @notice A deposit of nothing would grow the inbox for free.
    error ZeroAmount();

    /// @notice No key owns the zero address, so its money would be lost.
    error ZeroOwner();

    /// @notice The kind of a deposit.
    function DEPOSIT() external view returns (uint8);

    /// @notice The kind of an L2 transaction that no sequencer can leave out.
    function FORCED() external view returns (uint8);

    /// @notice The longest transaction that can be forced, so that every message can be re-executed in a proof.
    function MAX_FORCED_BYTES() external view returns (uint256);

    /// @notice When a message arrived, in seconds; 0 for one that hasn't yet.
    function arrivedAt(uint256 index) external view returns (uint64);

    /// @notice The settlement asset.
    function asset() external view returns (address);

    /// @notice Pays `amountNano` into the rollup for `owner`; the caller must have approved this contract for the
    /// units.
    function deposit(address owner, uint32 indexHint, uint64 amountNano) external returns (uint64 index);

    /// @notice The hash of a deposit's content: `keccak(kind1 ‖ owner20 ‖ hint4 ‖ amount8)`.
    function depositHash(address owner, uint32 indexHint, uint64 amountNano) external pure returns (bytes32);

    /// @notice Like `deposit`, with the caller's approval as a signature (EIP-2612): one transaction, and no
    /// allowance that another deposit could use up.
    function depositWithPermit(
        address owner,
        uint32 indexHint,
        uint64 amountNano,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external returns (uint64 index);

    /// @notice Makes every sequencer execute an L2 transaction, or at least move past it if it is invalid by then.
    function forceTx(bytes calldata body) external returns (uint64 index);

    /// @notice The hash of a forced transaction's content: `keccak(kind1 ‖ body)`.
    function forcedHash(bytes calldata body) external pure returns (bytes32);

    /// @notice The hash of all contents up to a length, which a batch that executes so many messages must name.
    function hashOf(uint256 count) external view returns (bytes32);

    /// @notice Whether packed contents are exactly those of consecutive messages.
    function holds(uint256 from, uint256 count, bytes calldata packed) external view returns (bool);

    /// @notice Whether a message is a deposit of exactly this content.
    function isDeposit(
        uint256 index,
        address owner,
        uint32 indexHint,
        uint64 amountNano
    ) external view returns (bool);

    /// @notice How many messages ever arrived; the next one's index.
    function length() external view returns (uint256);

    /// @notice Up to `limit` messages from index `start` on; fewer at the end, none beyond it.
    function messages(uint256 start, uint256 limit) external view returns (Message[] memory page);

    /// @notice Nano in the asset's smallest unit; 1 where a nano has several.
    function nanoPerUnit() external view returns (uint256);

    /// @notice The rollup, which keeps every deposit.
    function rollup() external view returns (address);

    /// @notice The asset's smallest units in one nano; 1 where a unit is worth several.
    function unitsPerNano() external view returns (uint256);

    /// @notice The version of what the contract does (https://semver.org): the first number changes with whatever its
    /// callers or its users' signatures must know, the second with what is new, the third with nothing that they see.
    function version() external view returns (string memory);
}
