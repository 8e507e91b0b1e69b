"""What the rollup's work costs whom: prices, quotes, allowances and quotas, all as values in and values out."""
