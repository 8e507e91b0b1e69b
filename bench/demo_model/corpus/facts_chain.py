# ruff: noqa: E501  (a pattern is easiest to read on one line)
"""Facts about the rollup, L1, and who watches them."""

from bench.demo_model.corpus.facts import Fact

FACTS = (
    Fact(
        "rollup",
        "The rollup is Idlewatt's own small chain for accounts and channels. It posts its transactions to L1 in batches, and a batch that "
        "nobody proves wrong becomes final.",
        (
            "<what> {the rollup|a rollup|rollups|the l2|l2|idlewatt's chain|an optimistic rollup|the optimistic rollup}",
            "what does the rollup do",
            "<works> {the rollup|a rollup|the chain|l2|the optimistic rollup} work",
            "<use> the rollup",
            "why {is there|does it use|does idlewatt have|do we need} {a rollup|its own chain|a blockchain|a chain}",
            "{which|what} {chain|blockchain} {does it use|does idlewatt use|is it on|is this}",
            "where {are payments settled|does money settle|is the money settled|do payments settle}",
            "is {there|it|idlewatt} {a blockchain|on a blockchain|on ethereum}",
            "rollup",
        ),
        (
            "how do you explain a rollup",
            "for what does idlewatt need its own chain",
            "on which blockchain are payments settled",
        ),
    ),
    Fact(
        "zk",
        "The rollup is optimistic, not ZK. That is simpler to build and to check; the price is a wait before money leaves, and amounts that "
        "are public.",
        (
            "why {optimistic|not zk|no zk|is it optimistic|isn't it zk|not zero knowledge}",
            "is it {a zk rollup|zk|zero knowledge|a zero knowledge rollup}",
            "does {it|idlewatt|the rollup} use {zk|zk proofs|zero knowledge|zero knowledge proofs}",
            "what does optimistic {mean|cost}",
            "{optimistic|zk} or {zk|optimistic}",
            "what is the {downside|drawback|disadvantage} of {an optimistic rollup|being optimistic|optimistic}",
            "are {amounts|payments on chain|transactions} {public|visible|hidden}",
        ),
        (
            "for what reason is the rollup not a zk rollup",
            "are there any zero knowledge proofs here",
            "what is the price of an optimistic design",
        ),
    ),
    Fact(
        "challenge",
        "The challenge window is the time in which a posted batch can be proven wrong before it is final: 60 seconds on the devnet, 7 days "
        "in a production setting.",
        (
            "<what> {the challenge window|a challenge window|the challenge period|the dispute window}",
            "how long is {the challenge window|the challenge period|the window}",
            "why {is there|do we need|does it have} a challenge {window|period}",
            "when is a batch {final|finalized|safe}",
            "how long {until|does it take until} a batch is final",
            "{what does|what means} {challenge window|final|finality}[ mean]",
            "<use> the challenge {window|period}",
        ),
        (
            "how many days does the challenge window last",
            "in what time can a batch be challenged",
            "what do you mean by a challenge window",
        ),
    ),
    Fact(
        "fraud",
        "A fraud proof shows L1 one step of a batch that was executed wrongly. L1 runs that step again, so a single honest watcher is enough.",
        (
            "<what> {a fraud proof|fraud proofs|the fraud proof}",
            "<works> {a fraud proof|fraud proofs|proving fraud} work",
            "what {if|happens if} {a batch is wrong|the sequencer cheats|the sequencer lies|the sequencer steals|a batch is invalid|there is fraud}",
            "<use> {a fraud proof|fraud proofs}",
            "{can|could} the sequencer {cheat|steal|steal my money|lie|take my money}",
            "who {can|may} {prove fraud|challenge a batch|prove a batch wrong}",
            "how many {honest watchers|watchers|honest people} {are needed|does it need}",
        ),
        (
            "what happens when the sequencer posts an invalid batch",
            "how is fraud proven",
            "can the sequencer run off with my money",
        ),
    ),
    Fact(
        "watchtower",
        "A watchtower rebuilds the rollup from L1 data alone and compares every state root, so a wrong batch does not go unnoticed.",
        (
            "<what> {a watchtower|the watchtower|watchtowers|idlewatt watch}",
            "what does {a watchtower|the watchtower} do",
            "<works> {a watchtower|the watchtower} work",
            "<use> a watchtower",
            "who {watches|checks|guards|verifies} {the rollup|the sequencer|the batches|the chain}",
            "{should i|do i need to|must i|can i} run a watchtower",
            "how are {batches|state roots|the batches} {checked|verified}",
        ),
        (
            "for what do i need a watchtower",
            "who is it that checks the batches",
            "may i run my own watchtower",
        ),
    ),
    Fact(
        "sequencer",
        "The sequencer orders rollup transactions, executes them, answers at once, and posts them to L1 in batches.",
        (
            "<what> {the sequencer|a sequencer|sequencers}",
            "what does {the sequencer|a sequencer} do",
            "<works> {the sequencer|a sequencer} work",
            "<use> {the sequencer|a sequencer}",
            "who {orders|executes|runs|collects} {transactions|the transactions|rollup transactions}",
            "who {posts|makes|writes|sends} {the batches|batches}",
            "{what happens to|where does} {a transaction|my transaction}[ go] {first|after i send it}",
        ),
        (
            "what job does the sequencer have",
            "by whom are transactions ordered",
            "can you define sequencer",
        ),
    ),
    Fact(
        "batch",
        "A batch is a bundle of rollup transactions with their state roots, posted to L1 as calldata. Anyone can rebuild the rollup from the "
        "batches.",
        (
            "<what> {a batch|batches|the batches}",
            "what {is in|stands in|does} a batch[ contain| hold]",
            "<works> {batches|a batch|batching} work",
            "where {are|do} {batches|the batches} {posted|go|stored|kept}",
            "<meaning> {batch|a batch}",
            "why are {transactions|payments} {batched|bundled|posted in batches}",
            "can {anyone|i|anybody} rebuild the rollup",
        ),
        (
            "what does one find inside a batch",
            "to which place are batches posted",
            "could i rebuild the rollup myself",
        ),
    ),
    Fact(
        "l1",
        "L1 is the base chain that holds the money and the posted batches. The demo runs its own L1 on your machine.",
        (
            "<what> {l1|the l1|layer one|layer 1|the base chain|the base layer}",
            "what does {l1|the l1|layer 1} {do|hold}",
            "<use> {l1|the l1|the base chain}",
            "{which|what} l1 {does it use|does the demo use|is used|is it}",
            "where is the l1",
            "<meaning> {l1|layer 1}",
            "{who|what} holds the money {in the end|on chain|of the rollup}",
            "what is the difference of l1 {and|to} {l2|the rollup}",
        ),
        (
            "which chain is under the rollup",
            "can you define l1",
            "where does the l1 of the demo run",
        ),
    ),
    Fact(
        "devnet",
        "The devnet is a chain for trying things out: its own L1, a sequencer and a faucet, on your machine. Run idlewatt devnet to start one.",
        (
            "<what> {the devnet|a devnet|devnet|idlewatt devnet|the test network}",
            "what does {the devnet|idlewatt devnet} do",
            "<how> {start|run|launch|get} {a devnet|the devnet|a test network|a local chain|my own chain}",
            "<use> {the devnet|a devnet}",
            "what {runs|is} {in|on} the devnet",
            "is there a {test network|testnet|devnet|local network}",
        ),
        (
            "which command launches a local test chain",
            "can you describe the devnet for me",
            "what parts does a devnet have",
        ),
    ),
)
