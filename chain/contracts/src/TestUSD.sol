// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title A dollar-like ERC-20 for development networks
/// @notice Anyone may mint any amount: its units are worth nothing and must never be taken for money.
/// A production deployment passes a real asset's address to the rollup instead of this one.
contract TestUSD {
    /// @notice The token's name (ERC-20 metadata).
    string public constant name = "Test USD";
    /// @notice The token's symbol (ERC-20 metadata).
    string public constant symbol = "tUSD";
    /// @notice Version of the signing domain (EIP-712).
    string public constant version = "1";
    /// @notice What an owner signs to let a spender take units (EIP-2612).
    bytes32 public constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    uint256 private constant _HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice The EIP-712 domain of what owners sign (EIP-2612).
    bytes32 public immutable DOMAIN_SEPARATOR;

    /// @notice How many units exist.
    uint256 public totalSupply;
    /// @notice Units an account holds.
    mapping(address account => uint256 units) public balanceOf;
    /// @notice Units that a spender may still take from an owner.
    mapping(address owner => mapping(address spender => uint256 units)) public allowance;

    /// @notice How many permits an owner has used (EIP-2612).
    mapping(address owner => uint256 count) public nonces;

    /// @notice Units moved; minting moves them from the zero address.
    event Transfer(address indexed from, address indexed to, uint256 value);
    /// @notice An owner allowed a spender to take units.
    event Approval(address indexed owner, address indexed spender, uint256 value);

    /// @notice An account holds fewer units than the call moves.
    error InsufficientBalance(address account, uint256 balance, uint256 needed);
    /// @notice A spender may take fewer units than the call takes.
    error InsufficientAllowance(address spender, uint256 allowed, uint256 needed);
    /// @notice The zero address can neither receive nor be minted to.
    error ZeroRecipient();
    /// @notice The permit's time is over.
    error PermitExpired(uint256 deadline);
    /// @notice The permit isn't the owner's next one.
    error WrongPermit(address signer, address owner);

    constructor() {
        DOMAIN_SEPARATOR = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                block.chainid,
                address(this)
            )
        );
    }

    /// @notice Decimal places of one unit (ERC-20 metadata).
    function decimals() external pure virtual returns (uint8) {
        return 18;
    }

    /// @notice Creates units out of nothing, for anyone: this token is for development networks only.
    /// @param to Who receives them.
    /// @param value How many.
    function mint(address to, uint256 value) external {
        if (to == address(0)) revert ZeroRecipient();
        totalSupply += value;
        unchecked {
            // A balance never exceeds the supply, whose sum was checked.
            balanceOf[to] += value;
        }
        emit Transfer(address(0), to, value);
    }

    /// @notice Lets a spender take up to `value` units of the caller's; the largest number means without limit.
    /// @param spender Who may take them.
    /// @param value How many.
    /// @return Always true (ERC-20).
    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    /// @notice Lets a spender take up to `value` units of an owner's, by the owner's signature (EIP-2612).
    /// @param owner Whose units.
    /// @param spender Who may take them.
    /// @param value How many.
    /// @param deadline Until when the signature holds, in seconds.
    /// @param v Of the signature.
    /// @param r Of the signature.
    /// @param s Of the signature.
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
    {
        if (block.timestamp > deadline) revert PermitExpired(deadline);
        bytes32 content = keccak256(abi.encode(PERMIT_TYPEHASH, owner, spender, value, nonces[owner]++, deadline));
        address signer = ecrecover(keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR, content)), v, r, s);
        if (signer == address(0) || signer != owner || uint256(s) > _HALF_ORDER) revert WrongPermit(signer, owner);
        allowance[owner][spender] = value;
        emit Approval(owner, spender, value);
    }

    /// @notice Moves the caller's units.
    /// @param to Who receives them.
    /// @param value How many.
    /// @return Always true (ERC-20).
    function transfer(address to, uint256 value) external returns (bool) {
        _move(msg.sender, to, value);
        return true;
    }

    /// @notice Moves an owner's units within the caller's allowance.
    /// @param from Whose units.
    /// @param to Who receives them.
    /// @param value How many.
    /// @return Always true (ERC-20).
    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        uint256 allowed = allowance[from][msg.sender];
        if (allowed != type(uint256).max) {
            if (allowed < value) revert InsufficientAllowance(msg.sender, allowed, value);
            unchecked {
                allowance[from][msg.sender] = allowed - value;
            }
        }
        _move(from, to, value);
        return true;
    }

    function _move(address from, address to, uint256 value) private {
        if (to == address(0)) revert ZeroRecipient();
        uint256 balance = balanceOf[from];
        if (balance < value) revert InsufficientBalance(from, balance, value);
        unchecked {
            balanceOf[from] = balance - value;
            balanceOf[to] += value;
        }
        emit Transfer(from, to, value);
    }
}
