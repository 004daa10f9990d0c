"""``flyteidl2.cluster.ClusterService``: there is one cluster, and it is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flyteidl2.cluster import payload_pb2 as pb

if TYPE_CHECKING:
    from connectrpc.request import RequestContext


class ClusterService:
    """See the module."""

    async def select_cluster(self, request: pb.SelectClusterRequest, ctx: RequestContext[Any, Any]) -> pb.SelectClusterResponse:
        """An empty endpoint: clients stay with the one they have."""
        del request, ctx
        return pb.SelectClusterResponse()
