"""Claims the next messages of many units in one statement."""

from collections.abc import Sequence
from uuid import UUID

from zapline.domain.outbox.send_outcomes import LEASE_SECONDS
from zapline.sql.outbound import send_claims
from zapline.sql.outbound.send_claims import ClaimRequest, ClaimResult
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.outbound.batches.shared_statement import SharedStatement


class SharedClaims:
    """One for all senders; ``process`` identifies this process in leases."""

    def __init__(self, pool: Pool, process: UUID) -> None:
        self._process = process
        self._shared: SharedStatement[ClaimRequest, ClaimResult] = SharedStatement(pool, self._claim)

    async def claim(self, request: ClaimRequest) -> ClaimResult:
        """Claim the next message of one unit.

        Raises what the connection raises; where that is DatabaseUnavailable, and where the caller is cancelled, the
        claim may exist.
        """
        return await self._shared.run(request)

    async def _claim(
        self, conn: Connection, requests: Sequence[ClaimRequest], lock_timeout_ms: int | None
    ) -> list[ClaimResult]:
        return await send_claims.claim_all(
            conn, requests, process=self._process, lease=LEASE_SECONDS, lock_timeout_ms=lock_timeout_ms
        )
