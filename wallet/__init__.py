"""Keys and signatures: keystore, accounts, voucher keys, vouchers, receipts and wallet operations."""
