"""A model that distils itself, round after round."""

from stillroom.pipeline.flows.loop.loop import Loop as Loop
