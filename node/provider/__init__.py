"""Serves and is paid: a model loaded and offered, requests admitted, answers delivered, vouchers redeemed."""
