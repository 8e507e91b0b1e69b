"""The rollup as this node sees it: reachable or not, which deployment, safe or in dispute."""
