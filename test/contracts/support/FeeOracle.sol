// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

/// @notice Answers where a chain of the OP stack has its oracle of fees, by sums that are easily repeated.
contract FeeOracle {
    uint256 internal constant WEI_PER_BYTE = 3 gwei;
    uint256 internal constant OPERATOR_CONSTANT = 5 gwei;

    /// @param transaction The unsigned transaction.
    function getL1Fee(bytes calldata transaction) external pure returns (uint256) {
        require(transaction[0] == 0x02, "the tests send type 2");
        return transaction.length * WEI_PER_BYTE;
    }

    function getOperatorFee(uint256 gas) external pure returns (uint256) {
        return gas + OPERATOR_CONSTANT;
    }
}

/// @notice The same before there was a fee for the operator.
contract OldFeeOracle {
    function getL1Fee(bytes calldata transaction) external pure returns (uint256) {
        return transaction.length * 3 gwei;
    }
}
