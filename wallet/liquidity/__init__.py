"""Offering liquidity: paying withdrawals out before they are final, for a fee."""
