"""The asynchronous services of a running node: renting out, buying, wallet, and the API over them."""
