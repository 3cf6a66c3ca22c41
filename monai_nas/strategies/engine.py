"""The ignite engine that drives any strategy; checkpoints, history and progress are handlers attached from outside."""

from ignite.engine import Engine

from monai_nas.strategies.strategy import SearchBatch, SearchStrategy


def search_engine(strategy: SearchStrategy) -> Engine:
    """Return an engine whose ``output`` is the scalars of :meth:`SearchStrategy.step`."""

    def step(engine: Engine, batch: SearchBatch) -> dict[str, float]:
        return strategy.step(batch)

    return Engine(step)
