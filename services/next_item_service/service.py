"""The BentoML service of `next_item`: POST /recommend beside the Open Inference Protocol."""

import bentoml

from modelyard.app import ModelService, service
from next_item_service.session import Recommendation, Session


@service("next_item")
class NextItem(ModelService):
    """Says what a visitor is likely to take up next."""

    @bentoml.api(route="/recommend")  # type: ignore[untyped-decorator]  # untyped library
    async def recommend(self, session: Session, /) -> Recommendation:
        """Rank the items that may follow a session.

        Give the events in the order of time. An unknown item, a time out of order or in the future, or an empty session
        is refused by its name. Of more than 64 events the newest 64 count; the answer says how many were dropped.
        """
        response = await self.infer(session.arrays(), session.outputs)
        by_name = {tensor.name: tensor.array[0] for tensor in response.outputs}
        ids, scores = (by_name[name] for name in session.outputs)
        return Recommendation.of(
            session, ids, scores, cache=response.parameters["cache"], model_version=response.model_version
        )
